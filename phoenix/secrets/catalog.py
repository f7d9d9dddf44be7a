"""Every secret of a site: what it is for, where it comes from, and whether Phoenix can change it.

The only list of secrets: deploys, checks, the command line and docs/reference.md read this one.
Names, purposes and origins only: no function here returns or shows a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import SecretStr

from phoenix.declaration.settings import Registry
from phoenix.declaration.value_types import value_fault
from phoenix.secrets import client_certificate
from phoenix.secrets.errors import SecretError
from phoenix.secrets.rules import (
    MIN_PASSWORD_BYTES,
    check_alarm_urls,
    check_backup_key,
    check_backup_s3,
    check_backup_ssh_key,
    check_issuance_key,
    check_line,
    check_portainer_password,
    check_watch_key,
)
from phoenix.secrets.store import KEPT, Origin, SecretStore, random_text
from phoenix.site import suggestions
from phoenix.site.model import Backups, Site
from phoenix.site.secret_names import (
    ADMIN_PASSWORD,
    AGENT_SECRET,
    ALARM_URLS,
    API_KEY,
    BACKUP_KEY,
    BACKUP_PASSPHRASE,
    BACKUP_S3_ID,
    BACKUP_S3_SECRET,
    BACKUP_SSH_KEY,
    CA_PASSWORD,
    DASHBOARD_PASSWORD,
    GATEWAY_CERTIFICATE,
    ISSUANCE_KEY,
    NEW,
    PROXMOX_TOKEN,
    WATCH_KEY,
)


def _any_value(_value: str) -> None:
    """Take every value."""


def _client_certificate(value: str) -> None:
    try:
        client_certificate.certificate_in(value)
    except SecretError as error:
        raise SecretError(f"secret {GATEWAY_CERTIFICATE}: {error}") from None


def _of_variable(name: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if fault := value_fault(value):
            raise SecretError(f"secret {name} {fault[0]}: {fault[1]}")

    return check


def _line(name: str) -> Callable[[str], None]:
    return lambda value: check_line(name, value)


@dataclass(frozen=True)
class SecretUse:
    """One secret: its name, what it is for, and the deploys that take a changed one to hosts.

    `generated`: made by Phoenix where none is given, by `generate`. `by_hand`: how to change it
    where Phoenix cannot, else empty. `check` raises SettingError for a value that cannot be used.
    """

    name: str
    what: str
    deploys: tuple[str, ...] = ()
    generated: bool = True
    by_hand: str = ""
    check: Callable[[str], None] = _any_value
    generate: Callable[[], str] = random_text


_AT_S3 = (
    "make a new pair at the server of the bucket, give both where the old ones are given now, and "
    "run `phoenix sync restic`"
)
PLATFORM = (
    SecretUse(
        DASHBOARD_PASSWORD,
        "user of Traefik's dashboard (setting traefik_dashboard_user)",
        ("deploys/traefik.py",),
        check=_line(DASHBOARD_PASSWORD),
    ),
    SecretUse(
        GATEWAY_CERTIFICATE,
        "certificate and key by which the gateway proves itself to Traefik, as PEM",
        ("deploys/admission.py",),
        check=_client_certificate,
        generate=client_certificate.generate,
    ),
    SecretUse(
        ADMIN_PASSWORD,
        f"user admin of Portainer, {MIN_PASSWORD_BYTES} bytes or more",
        ("deploys/portainer.py",),
        check=check_portainer_password,
    ),
    SecretUse(
        AGENT_SECRET,
        "by which Portainer's server proves itself to its agents",
        ("deploys/portainer.py",),
        check=_line(AGENT_SECRET),
    ),
    SecretUse(
        API_KEY,
        "key of an administrator of the Portainer elsewhere (My account, Access tokens)",
        generated=False,
        by_hand="make another key in Portainer (My account, Access tokens), give it instead of the "
        "old one, and remove that there",
        check=_line(API_KEY),
    ),
    SecretUse(
        CA_PASSWORD,
        "opens the CA's keys; made on the CA's guest and known only there, unless given",
        generated=False,
        by_hand="the CA's keys are encrypted with it on the CA's guest: there, for each key in "
        "/etc/step-ca/secrets, run `openssl pkey -in KEY -passin file:password -aes256 -out "
        "KEY.new -passout file:password.new`, put the new files in place of the old ones "
        "together, and restart step-ca",
    ),
    SecretUse(
        ISSUANCE_KEY,
        "by which the CA knows the guest that asks for a certificate, 32 letters or more",
        (
            "deploys/step_ca.py",
            "deploys/certificates.py",
            "deploys/passthrough.py",
            "deploys/traefik.py",
            "deploys/nginx.py",
        ),
        check=check_issuance_key,
    ),
    SecretUse(
        PROXMOX_TOKEN,
        "the Proxmox API, where the setting proxmox_api is on",
        generated=False,
        by_hand="make another token on the hypervisor (`pveum user token add phoenix@pve "
        "NAME --privsep 0`), give it instead of the old one, run deploys/proxmox.py, then "
        "remove the old one (`pveum user token remove phoenix@pve OLD`)",
        check=_line(PROXMOX_TOKEN),
    ),
    SecretUse(
        BACKUP_PASSPHRASE,
        "encrypts backups where the setting backup_recipients is empty",
        generated=False,
        by_hand="give another one where it is given now; older backups open with the "
        "passphrase that they were made with",
    ),
    SecretUse(
        WATCH_KEY,
        "by which each host and the watcher know each other, 32 letters or more",
        ("deploys/watch.py",),
        check=check_watch_key,
    ),
    SecretUse(
        ALARM_URLS,
        "where the watcher sends alarms: URLs of Apprise, one a line (docs/watch.md)",
        ("deploys/watch.py",),
        generated=False,
        by_hand="give the new ones where they are given now, and run `phoenix sync watch`",
        check=check_alarm_urls,
    ),
    SecretUse(
        BACKUP_KEY,
        "by which each host's backups are encrypted, 32 letters or more (docs/backups.md)",
        ("deploys/restic.py",),
        by_hand="backups that are there open by this one alone. To begin new ones by another: take "
        "the old one and its backups to a safe place, give another target or folder in "
        "`site.backups`, give the new one where it is given now, and run `phoenix sync restic`",
        check=check_backup_key,
    ),
    SecretUse(
        BACKUP_SSH_KEY,
        "private key by which hosts log in to the SFTP server of their backups",
        ("deploys/restic.py",),
        generated=False,
        by_hand="have the server take the new one beside the old one, give it where the old one is "
        "given now, run `phoenix sync restic`, and remove the old one from the server",
        check=check_backup_ssh_key,
    ),
    SecretUse(
        BACKUP_S3_ID,
        "access key of the bucket of the backups",
        ("deploys/restic.py",),
        generated=False,
        by_hand=_AT_S3,
        check=check_backup_s3,
    ),
    SecretUse(
        BACKUP_S3_SECRET,
        "secret key of the bucket of the backups",
        ("deploys/restic.py",),
        generated=False,
        by_hand=_AT_S3,
        check=check_backup_s3,
    ),
)
"""The secrets of the platform itself, whatever a site declares."""
_OF_PORTAINER = (ADMIN_PASSWORD, AGENT_SECRET)
_AGENT_SECRET_ELSEWHERE = SecretUse(
    AGENT_SECRET,
    "AGENT_SECRET in the environment of the Portainer elsewhere, which agents know it by",
    ("deploys/portainer.py",),
    generated=False,
    by_hand="give that server another AGENT_SECRET, give it instead of the old one, and run "
    "deploys/portainer.py; other agents of that server need it too",
    check=_line(AGENT_SECRET),
)
"""The same secret where Portainer is outside the site: that server chooses it."""
_OF_THE_WATCH = (WATCH_KEY, ALARM_URLS)
_OF_S3 = (BACKUP_S3_ID, BACKUP_S3_SECRET)


@dataclass(frozen=True)
class SecretStatus:
    """A secret, where it comes from, and whether a change of it is unfinished."""

    use: SecretUse
    origin: Origin
    changing: bool


Registries = Mapping[str, Registry]
"""The setting `registries`: its secrets are the site's, too."""
NO_REGISTRIES: Registries = MappingProxyType({})


def uses(site: Site, registries: Registries = NO_REGISTRIES) -> tuple[SecretUse, ...]:
    """Every secret that the site uses or may use, its stacks' and registries' among them, by name.

    Args:
        site: whose secrets.
        registries: the setting of that name.
    """
    absent = {API_KEY} if site.external_portainer is None else set()
    absent |= set(_OF_PORTAINER) if site.portainer is None else set()
    absent |= set(_OF_THE_WATCH) if site.watcher is None else set()
    absent |= _not_of(site.backups)
    secrets = [use for use in PLATFORM if use.name not in absent]
    secrets += [_AGENT_SECRET_ELSEWHERE] if site.external_portainer is not None else []
    stacks = [stack for guest in site.guests for stack in guest.docker_stacks]
    of_variables = {v.secret.lower() for stack in stacks for v in stack.variables if v.secret}
    for stack in stacks:
        names = [v.secret for v in stack.variables] + [f.secret for f in stack.files]
        secrets += [
            SecretUse(
                name.lower(),
                f"stack {stack.project}; what keeps a copy of it, as a database its password, is "
                "told by you",
                ("deploys/stacks.py",),
                check=_of_variable(name.lower()) if name.lower() in of_variables else _any_value,
            )
            for name in names
            if name is not None
        ]
    secrets += [
        SecretUse(
            login.secret,
            f"user {login.user} of the service {service.name}, whom Traefik asks for it",
            ("deploys/traefik.py",),
            check=_line(login.secret),
        )
        for service in site.services
        for login in service.options.basic_auth
    ]
    secrets += [
        SecretUse(
            host.login.sudo_password,
            "the password that sudo asks for, where a host's login names it",
            generated=False,
            by_hand="change it on the hosts (passwd), and give the new one where it is given now",
            check=_line(host.login.sudo_password),
        )
        for host in site.hosts
        if host.login.sudo_password is not None
    ]
    secrets += [_of_registry(name, registry) for name, registry in registries.items()]
    return tuple(
        sorted({use.name: use for use in reversed(secrets)}.values(), key=lambda u: u.name)
    )


def _not_of(backups: Backups | None) -> set[str]:
    """The secrets of backups that their target does not need."""
    if backups is None:
        return {BACKUP_KEY, BACKUP_SSH_KEY, *_OF_S3}
    kind = backups.target.kind
    return {*(() if kind == "sftp" else [BACKUP_SSH_KEY]), *(() if kind == "s3" else _OF_S3)}


def _of_registry(name: str, registry: Registry) -> SecretUse:
    return SecretUse(
        registry.secret,
        f"registry {name}: password or token of {registry.username} (setting registries)",
        generated=False,
        by_hand=f"change it at {name}, give the new one where it is given now, and run "
        "deploys/portainer.py and deploys/stacks.py",
        check=_line(registry.secret),
    )


def listing(
    site: Site, store: SecretStore, registries: Registries = NO_REGISTRIES
) -> tuple[SecretStatus, ...]:
    """Every secret and where it comes from.

    Raises:
        SecretError: a source that is named cannot be read.
    """
    return tuple(
        SecretStatus(use, store.origin(use.name), store.is_changing(use.name))
        for use in uses(site, registries)
    )


def rotatable(
    names: Sequence[str], site: Site, store: SecretStore, *, lost: bool = False,
    registries: Registries = NO_REGISTRIES,
) -> tuple[SecretUse, ...]:  # fmt: skip
    """The secrets that `names` names, if Phoenix can change each of them.

    Args:
        names: of the secrets.
        site: whose secrets.
        store: where this machine has them.
        lost: make those that this machine does not have, too: nobody has them any more.
        registries: the setting of that name.

    Raises:
        SecretError: none is named, one is unknown, is not on this machine, or must be changed by
            hand; says how.
    """
    by_name = {use.name: use for use in uses(site, registries)}
    if not names:
        raise SecretError("secrets_rotate is missing: --data secrets_rotate=NAME,NAME")
    for name in names:
        use = by_name.get(name)
        if use is None:
            raise SecretError(f"there is no secret {name!r}. {suggestions.hint_for(name, by_name)}")
        if use.by_hand:
            raise SecretError(f"{name} cannot be changed by Phoenix: {use.by_hand}")
        origin = store.origin(name)
        if origin == "absent" and not lost:
            raise SecretError(
                f"this machine does not have {name}, so there is nothing to change. If the site "
                "has it, get it from an operator who has it: `phoenix secrets export --to "
                "YOUR_AGE_KEY` there and `phoenix secrets import FILE` here. A site that was never "
                "synced gets it by the first sync. If nobody has it any more: `phoenix secrets "
                f"rotate --lost {name}`"
            )
        if origin not in KEPT:
            raise SecretError(
                f"{name} comes from {_PLACE[origin]}, where Phoenix cannot put a new one: change "
                f"it there{_AFTER.get(name, '')}, and run {' and '.join(use.deploys)}"
            )
    return tuple(by_name[name] for name in dict.fromkeys(names))


_PLACE = {
    "environment": "the environment",
    "file": "a file that the environment names",
}
_AFTER = {
    ADMIN_PASSWORD: " and in Portainer (My account, Change user password)",
    AGENT_SECRET: " (server and agents restart one after the other)",
}


def propose(names: Sequence[str], store: SecretStore) -> None:
    """Have `store` give new values of `names` from now on; kept is nothing yet.

    A value may be given as the secret NAME_new, else one is generated.

    Raises:
        SettingError: a given value that its service would not take.
    """
    for name in names:
        use = _platform(name)
        value = store.find(name + NEW)
        if value is not None:
            use.check(value.get_secret_value())
        if value is None:
            store.propose(name, use.generate)
        else:
            store.propose(name, value.get_secret_value)


def check(name: str, value: SecretStr) -> None:
    """Refuse a value that the service of the secret `name` would not take.

    Raises:
        SettingError: it would not; the message does not hold it.
    """
    _platform(name).check(value.get_secret_value())


def generator(name: str) -> Callable[[], str]:
    """How a value of the secret `name` is made."""
    return _platform(name).generate


def _platform(name: str) -> SecretUse:
    """The platform's own secret of this name; a stack's has no rule of its own here."""
    return next((use for use in PLATFORM if use.name == name), SecretUse(name, ""))
