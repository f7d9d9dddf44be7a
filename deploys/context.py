"""What every deploy needs to know: the site, this host in it, secrets, templates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from ipaddress import IPv4Network
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pyinfra import host
from pyinfra.api import DeployError
from pyinfra.facts.server import Arch

from phoenix import site as sites
from phoenix.artifacts import Artifact, pinned
from phoenix.findings import SettingError
from phoenix.model import Host, Site
from phoenix.secrets import SecretStore

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _load(inventories: str, stacks: str, environment: str, subnet: str | None) -> Site:
    return sites.load(
        Path(inventories),
        Path(stacks),
        environment=environment,
        subnet=IPv4Network(subnet) if subnet else None,
    )


def site() -> Site:
    """The site that this run's inventory was made from; read once."""
    data = host.data
    return _load(
        data.site_inventories, data.site_stacks, data.site_environment, data.get("site_subnet")
    )


def me() -> Host:
    """This host in the site."""
    return site().host(host.name)


@contextmanager
def settings() -> Iterator[None]:
    """Settings that cannot be used end the run here with their own words, not a traceback.

    Raises:
        DeployError: in place of phoenix.findings.SettingError, before any host is touched.
    """
    try:
        yield
    except SettingError as error:
        raise DeployError(f"{host.name}: {error}") from error


def pinned_program(name: str) -> Artifact:
    """The program that the setting `artifacts` pins for this host's processor.

    Raises:
        ArtifactError: see `phoenix.artifacts.pinned`.
    """
    machine = host.get_fact(Arch) or ""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, "unknown")
    return pinned(name, host.data.artifacts, arch)


@cache
def _store(path: str) -> SecretStore:
    return SecretStore(Path(path))


def secrets() -> SecretStore:
    """The site's secrets; none is read until it is asked for."""
    return _store(host.data.site_secrets)


@cache
def _environment() -> Environment:
    # nginx.conf, units and shell: nothing here is HTML, so there is nothing to escape.
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )


def render(template: str, **values: object) -> str:
    """A template below deploys/templates with every variable given, else an error."""
    return _environment().get_template(template).render(**values)
