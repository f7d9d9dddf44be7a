"""The settings of group_data for the hypervisor, typed and checked before any host is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from phoenix.site.findings import ConfigError, Report

FILE = "group_data"
PREFIX = "proxmox_"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MountPoint(_Strict):
    """A volume of its own in a container: made when absent, never removed or shrunk. Size: GiB."""

    path: str = Field(pattern=r"^/[^\s,=]+$")
    storage: str
    size_gb: int = Field(ge=1)
    backup: bool = True


class Image(_Strict):
    """Where the hypervisor itself can download an image, and the digest that it must have."""

    url: str = Field(pattern=r"^https?://\S+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class GuestSettings(_Strict):
    """What one guest has beside its entry in the JSON files."""

    node: str | None = None
    vlan: int | None = Field(default=None, ge=1, le=4094)
    features: Mapping[str, str] = {}
    mount_points: tuple[MountPoint, ...] = ()
    tags: tuple[str, ...] = ()
    protection: bool | None = None
    replicate_to: tuple[str, ...] = ()


def _by_id(value: Any) -> Any:
    return {int(key): item for key, item in value.items()} if isinstance(value, dict) else value


class ProxmoxSettings(_Strict):
    """All settings that start with `proxmox_`; each is explained in group_data/all.py."""

    api: str = Field(default="off", pattern=r"^(off|ssh|https://\S+)$")
    ca_file: str | None = None
    fingerprint: str | None = Field(default=None, pattern=r"^([0-9A-Fa-f]{2}:?){32}$")
    node: str | None = None
    template_storage: str = "local"
    image_storage: str = "local"
    images: Mapping[str, Image] = {}
    adopt: tuple[int, ...] = ()
    vm_user: str | None = None
    ssh_keys: tuple[str, ...] = ()
    lxc_features: Mapping[str, str] = {"nesting": "1"}
    guests: Annotated[Mapping[int, GuestSettings], BeforeValidator(_by_id)] = {}
    firewall: bool = True
    firewall_out: Literal["ACCEPT", "DROP"] = "ACCEPT"
    operator_networks: tuple[str, ...] = ()
    ha_group: str | None = None
    replication_schedule: str = "*/15"
    snapshot_before_change: bool = False
    lifecycle_snapshots: bool = False
    task_seconds: int = Field(default=900, ge=1)
    lock_seconds: int = Field(default=120, ge=0)
    request_seconds: int = Field(default=30, ge=1)
    ssh_seconds: int = Field(default=300, ge=1)

    def guest(self, vmid: int | None) -> GuestSettings:
        """The settings of one guest; all defaults where none are given."""
        return self.guests.get(vmid or 0, GuestSettings())


def settings(data: Mapping[str, Any]) -> ProxmoxSettings:
    """Settings from a host's data, of which all keys that start with `proxmox_` are taken.

    Raises:
        ConfigError: each wrong or unknown setting, by name, with what to write.
    """
    own = {k.removeprefix(PREFIX): v for k, v in data.items() if k.startswith(PREFIX)}
    try:
        return ProxmoxSettings.model_validate(own)
    except ValidationError as error:
        report = Report()
        for problem in error.errors():
            path = ".".join(str(part) for part in problem["loc"])
            report.error(
                FILE, f"{PREFIX}{path}", problem["msg"],
                "see the comments of the settings named proxmox_ in group_data/all.py",
            )  # fmt: skip
        raise ConfigError(report.errors) from None
