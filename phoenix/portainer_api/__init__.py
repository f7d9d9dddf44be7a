"""Portainer CE's HTTP API as typed Python: client, models, pure sync plan, convergence.

Free of pyinfra. Credentials are `pydantic.SecretStr` throughout, so no repr or log shows one.
"""

from phoenix.net.https import Dial

from .client import PortainerClient
from .converge import Outcome, RefusedError, StackFailedError, converge, describe, diff, look
from .engine import StackEngine
from .errors import (
    AdminInitTimeoutError,
    ApiError,
    AuthenticationError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PasswordRefusedError,
    PortainerError,
    RateLimitedError,
    SetupTokenError,
    UnknownOutcomeError,
    UnreachableError,
)
from .models import ContainerSummary, Endpoint, Stack, StackStatus, SystemStatus
from .read_once import ReadOnce
from .registries import Login, RegistryPlan, plan_registries
from .setup import (
    Access,
    Credentials,
    ensure_access,
    ensure_endpoint,
    ensure_password,
    plan_endpoint,
)
from .swarm import SwarmFile, SwarmStacks
from .sync import DesiredStack, ObservedStack, Plan, desired_stack, plan

__all__ = [
    "Access",
    "AdminInitTimeoutError",
    "ApiError",
    "AuthenticationError",
    "ConflictError",
    "ContainerSummary",
    "Credentials",
    "DesiredStack",
    "Dial",
    "Endpoint",
    "InvalidInputError",
    "Login",
    "NotFoundError",
    "ObservedStack",
    "Outcome",
    "PasswordRefusedError",
    "Plan",
    "PortainerClient",
    "PortainerError",
    "RateLimitedError",
    "ReadOnce",
    "RefusedError",
    "RegistryPlan",
    "SetupTokenError",
    "Stack",
    "StackEngine",
    "StackFailedError",
    "StackStatus",
    "SwarmFile",
    "SwarmStacks",
    "SystemStatus",
    "UnknownOutcomeError",
    "UnreachableError",
    "converge",
    "describe",
    "desired_stack",
    "diff",
    "ensure_access",
    "ensure_endpoint",
    "ensure_password",
    "look",
    "plan",
    "plan_endpoint",
    "plan_registries",
]
