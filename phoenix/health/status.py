"""The site at a glance, as data: what `phoenix status` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from phoenix.health.diagnosis import Cause, Fault

State = Literal["ok", "broken", "unknown"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Guest(_Model):
    """One host. `drift`: steps that a run would change, None where nobody looked."""

    name: str
    id: int | None
    address: str
    roles: tuple[str, ...]
    answers: bool
    state: State
    fault: str
    drift: int | None


class ServiceStatus(_Model):
    """One service at the gateway. `fault` is the first broken hop's, None where it is well."""

    name: str
    url: str
    owner: str
    state: State
    fault: Fault | None


class CertificateStatus(_Model):
    """One certificate as it is served. Times are UTC; `hours_left` is negative when it is over.

    `names` begins with the one that was asked for.

    `next_renewal` is when the holder is going to ask for a new one, at the earliest; None where
    that is not known, or where nothing is going to ask. `renewed_by`: whose rule that is.
    """

    holder: str
    served_at: str
    names: tuple[str, ...]
    serial: str
    issuer: str
    not_before: datetime | None
    not_after: datetime | None
    hours_left: float | None
    verified: bool
    state: State
    fault: str
    renewed_by: str
    next_renewal: datetime | None


class EndpointStatus(_Model):
    """One endpoint of Portainer. `state` comes from asking the Docker behind it."""

    name: str
    url: str
    state: State
    fault: str


class StackStatus(_Model):
    """One stack. `status` is Portainer's word, empty where it was not asked or has none.

    `drift`: whether a run would change it, None where nobody looked.
    """

    name: str
    guest: str
    endpoint: str
    status: str
    containers: int
    healthy: int
    state: State
    fault: str
    drift: bool | None


class Status(_Model):
    """The whole site. `drift_unknown` says why nobody could look for drift; else empty."""

    site: str
    domain: str
    at: datetime
    guests: tuple[Guest, ...]
    services: tuple[ServiceStatus, ...]
    certificates: tuple[CertificateStatus, ...]
    endpoints: tuple[EndpointStatus, ...]
    stacks: tuple[StackStatus, ...]
    drift_unknown: str
    first_cause: Cause | None

    @property
    def broken(self) -> bool:
        """Whether something is down, expired, or could not be asked."""
        parts: Iterable[Any] = (
            *self.guests, *self.services, *self.certificates, *self.endpoints, *self.stacks,
        )  # fmt: skip
        return self.first_cause is not None or any(part.state != "ok" for part in parts)

    @property
    def drifted(self) -> bool:
        """Whether a run would change something."""
        return any(guest.drift for guest in self.guests)


@dataclass(frozen=True)
class Drift:
    """What a plan found: the titles of the steps that would change each host.

    `unknown` says why it is not known; else empty. None of both: nobody looked.
    """

    steps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: str = ""
    looked: bool = False

    def count(self, host: str) -> int | None:
        """How many steps would change a host; None where that is not known."""
        return len(self.steps.get(host, ())) if self.looked and not self.unknown else None
