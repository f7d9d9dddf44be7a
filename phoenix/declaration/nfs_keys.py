"""Folders by NFS as declared: `volumes` of a VM, `nfs.exports` of the hypervisor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import Literal

from phoenix.declaration.container_keys import hidden, hides_guest_files
from phoenix.declaration.json_errors import join
from phoenix.declaration.json_keys import RawExport, RawVolume
from phoenix.site.addressing import static_addresses
from phoenix.site.findings import Report
from phoenix.site.model import Host, NfsExport, NfsMount, Site, Source


def mounts(
    volumes: Sequence[RawVolume],
    kind: Literal["lxc", "vm"],
    source: Source,
    default: IPv4Address | None,
    report: Report,
) -> tuple[NfsMount, ...]:
    """What a guest mounts.

    Args:
        volumes: as its entry has them.
        kind: what the guest is: a container cannot mount NFS.
        source: where its entry stands.
        default: the server of a volume that names none; None where there is no site yet.
        report: takes what is wrong, or stays with a person.
    """
    mounted: list[NfsMount] = []
    for position, raw in enumerate(volumes):
        path = f"{source.path}.volumes[{position}]"
        try:
            server = IPv4Address(raw.server) if raw.server else default
        except ValueError:
            report.error(
                source.file, f"{path}.server", f"{raw.server!r} is not an IPv4 address",
                "write an address",
            )  # fmt: skip
            continue
        if raw.type != "nfs":
            report.warn(
                source.file, f"{path}.type", f"a volume of type {raw.type[:40]!r} stays with you",
                'mount it yourself, or write "nfs"',
            )  # fmt: skip
        elif kind == "lxc":
            report.warn(
                source.file, path, "a container cannot mount NFS: this folder stays with you",
                "mount it on the hypervisor, and give it to the container by mount_points",
            )  # fmt: skip
        elif raw.mount_point in [mount.mount_point for mount in mounted]:
            report.error(
                source.file, f"{path}.mount_point", f"{raw.mount_point} is mounted twice",
                "write another path, or keep one of the two",
            )  # fmt: skip
        elif hides_guest_files(raw.mount_point):
            report.error(
                source.file, f"{path}.mount_point", f"{raw.mount_point} of the guest itself would "
                f"be hidden by the mount there", "write another path, as /mnt/media",
            )  # fmt: skip
        elif server is not None:
            at = Source(file=source.file, path=path)
            mounted.append(
                NfsMount(server=server, path=raw.path, mount_point=raw.mount_point, source=at)
            )
    for number, above in hidden([mount.mount_point for mount in mounted]):
        place = mounted[number].source
        report.warn(
            place.file, f"{place.path}.mount_point",
            f"{mounted[number].mount_point} is hidden by the mount at {above} after it",
            f"declare what is at {above} before it",
        )  # fmt: skip
    return tuple(mounted)


def exports(shares: Iterable[RawExport], file: str, report: Report) -> tuple[NfsExport, ...]:
    """What the hypervisor shares; `file` declares it at `nfs.exports`.

    Args:
        shares: as declared.
        file: see above.
        report: takes what is wrong, and what is worth knowing.
    """
    exported: list[NfsExport] = []
    for position, raw in enumerate(shares):
        path = join("nfs.exports", position)
        if raw.path in [share.path for share in exported]:
            report.error(
                file, f"{path}.path", f"{raw.path} is shared twice",
                "write all clients in one entry",
            )  # fmt: skip
            continue
        if not raw.clients:
            report.error(
                file, path, "no client is named, so nobody may mount it",
                "write the addresses or networks of the clients",
            )  # fmt: skip
            continue
        if any(client.prefixlen == 0 for client in raw.clients):
            report.error(
                file, f"{path}.clients", "the whole world may mount it",
                "write the addresses or networks of the clients",
            )  # fmt: skip
        for first, second in _contradictions(raw.options):
            report.error(
                file, f"{path}.options", f"{first} and {second} contradict each other",
                "keep one of the two",
            )  # fmt: skip
        exported.append(
            NfsExport(
                path=raw.path,
                clients=tuple(dict.fromkeys(raw.clients)),
                options=raw.options,
                source=Source(file=file, path=path),
            )
        )
    if exported:
        report.warn(
            file, "nfs.exports",
            "NFS knows clients by address only and encrypts nothing: anyone who takes a client's "
            "address, or can read its network, has these folders",
            "share only data that you may lose, in a network that you trust",
        )  # fmt: skip
    return tuple(exported)


_OPPOSITES = {
    "ro": "rw", "async": "sync", "insecure": "secure", "insecure_locks": "secure_locks",
    "nohide": "hide", "nordirplus": "rdirplus",
}  # fmt: skip
"""Options of exports(5) whose opposite is not `no_` and the other."""


def _contradictions(options: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of options of which exportfs(8) takes the last without a word."""
    by_subject: dict[str, str] = {}
    for option in options:
        name = option.partition("=")[0]
        subject = _OPPOSITES.get(name, name.removeprefix("no_"))
        first = by_subject.setdefault(subject, option)
        if first != option:
            yield first, option


def check(site: Site, report: Report) -> None:
    """Tell of folders that a guest mounts from the hypervisor and that are not shared with it."""
    for host in site.hosts:
        for mount in host.mounts:
            if mount.server in static_addresses(host):
                report.error(
                    mount.source.file,
                    f"{mount.source.path}.server",
                    f"{mount.server} is {host.name} itself",
                    "write the address of the server that has the folder",
                )
            own = mount.server in static_addresses(site.hypervisor)
            if own and not _shares(site.hypervisor, mount, host):
                report.warn(
                    mount.source.file,
                    mount.source.path,
                    f"{site.hypervisor.name} does not share {mount.path} with {host.name} by what "
                    "is declared",
                    f"add {host.address} to the clients of nfs.exports in "
                    "phoenix_hypervisor_config.json, where no other exports file has it",
                )


def _shares(server: Host, mount: NfsMount, client: Host) -> bool:
    return any(
        (mount.path == share.path or mount.path.startswith(f"{share.path.rstrip('/')}/"))
        and any(
            address in network for address in static_addresses(client) for network in share.clients
        )
        for share in server.exports
    )
