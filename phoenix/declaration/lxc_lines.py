"""Low-level settings of a container (lxc.container.conf(5)): `lxc_options` and AppArmor's keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from phoenix.declaration.json_keys import RawLxc
from phoenix.site.findings import Report
from phoenix.site.model import Source

_LINE = re.compile(r"(lxc\.[a-z0-9_.-]+)(?::|\s*=)\s*([ -~]*?)\s*\Z", re.ASCII)
"""As `parse_pct_config` of pve-container reads one, src/PVE/LXC/Config.pm."""
_GROUPS = ("lxc.cgroup2.", "lxc.prlimit.")
_NAMES = (
    "apparmor.profile", "apparmor.allow_incomplete", "apparmor.allow_nesting", "apparmor.raw",
    "selinux.context", "include", "signal.halt", "signal.reboot", "signal.stop", "init.cmd",
    "init.cwd", "init.uid", "init.gid", "init.groups", "pty.max", "console.logfile", "console.path",
    "tty.max", "devtty.dir", "hook.autodev", "autodev", "kmsg", "mount.fstab", "mount.entry",
    "mount.auto", "rootfs.mount", "cap.drop", "cap.keep", "seccomp.profile", "seccomp.notify.proxy",
    "seccomp.notify.cookie", "hook.pre-start", "hook.pre-mount", "hook.mount", "hook.start",
    "hook.stop", "hook.post-stop", "hook.clone", "hook.destroy", "hook.version", "log.level",
    "log.file", "start.auto", "start.delay", "start.order", "group", "environment",
    "environment.runtime", "environment.hooks", "sysctl.fs.mqueue", "sysctl.kernel.msgmax",
    "sysctl.kernel.msgmnb", "sysctl.kernel.msgmni", "sysctl.kernel.sem", "sysctl.kernel.shmall",
    "sysctl.kernel.shmmax", "sysctl.kernel.shmmni", "sysctl.kernel.shm_rmid_forced",
)  # fmt: skip
"""Keys below `lxc.` that Proxmox VE takes (`valid_lxc_conf_keys`, same file)."""
_KEYS = frozenset(f"lxc.{name}" for name in _NAMES)
_OWNED = {
    "lxc.net.": "network_config",
    "lxc.idmap": "id_maps",
    "lxc.uts.name": "name",
    "lxc.arch": "the template that it is made from",
    "lxc.rootfs.path": "storage_pool",
    "lxc.rootfs.options": "storage_pool",
}
PROFILE, NESTING = "lxc.apparmor.profile", "lxc.apparmor.allow_nesting"
_ONCE = (PROFILE, NESTING)


def lines(raw: RawLxc, source: Source, report: Report) -> tuple[tuple[str, str], ...]:
    """Key and value of each low-level line that a container is to have.

    Args:
        raw: the container's entry, which stands at `source`.
        source: see `raw`.
        report: takes what Proxmox VE would not take, and what another key says.
    """
    options = [*_options(raw, source, report)]
    profile = None if raw.apparmor_profile is None else raw.apparmor_profile.strip()
    own = [(PROFILE, profile, "apparmor_profile")] if profile else []
    if raw.apparmor_manages_nesting is not None:
        own.append((NESTING, str(int(raw.apparmor_manages_nesting)), "apparmor_manages_nesting"))
    for key, value, name in own:
        texts = [text for other, text in options if other == key]
        if texts and texts != [value]:
            report.error(
                source.file, f"{source.path}.{name}",
                f"{value} differs from {key} in lxc_options, which is {', '.join(texts)}",
                "keep one of the two",
            )  # fmt: skip
        elif not texts:
            options.append((key, value))
    if (PROFILE, "unconfined") in options and not raw.unprivileged:
        report.warn(
            source.file, source.path,
            "a privileged container without AppArmor: root inside is root of the hypervisor",
            'write "unprivileged": true, or leave out apparmor_profile and lxc.apparmor.profile',
        )  # fmt: skip
    return tuple(options)


def _options(raw: RawLxc, source: Source, report: Report) -> Iterator[tuple[str, str]]:
    known: set[str] = set()
    for position, text in enumerate(raw.lxc_options):
        place = f"{source.path}.lxc_options[{position}]"
        match = _LINE.match(text.strip())
        key = match[1] if match else ""
        owner = next((name for prefix, name in _OWNED.items() if key.startswith(prefix)), None)
        if match is None:
            report.error(
                source.file, place, f"{text[:80]!r} is not a line of lxc.container.conf(5)",
                'write KEY=VALUE, as "lxc.mount.auto=sys:rw"',
            )  # fmt: skip
        elif owner is not None:
            report.warn(source.file, place, f"not used: it follows from {owner}", "remove it")
        elif key not in _KEYS and not key.startswith(_GROUPS):
            report.error(
                source.file, place, f"Proxmox VE takes no {key[:60]}",
                "correct the key, or remove the line (lxc.container.conf(5))",
            )  # fmt: skip
        elif key in _ONCE and key in known:
            report.error(source.file, place, f"{key} is given twice", "keep one of the two")
        else:
            known.add(key)
            yield key, match[2]
