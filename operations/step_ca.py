"""The certificate authority's keys and certificates."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import cache

from pydantic import SecretStr
from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand

from facts.command import script
from facts.step_ca import CaDatabase, CertificateAuthority, NamesOfCertificates
from operations.explain import log_reasons
from operations.failure import refuse
from operations.host_state import question, read
from operations.operation import operation
from phoenix.components.step_ca import declared_names
from phoenix.components.step_ca.authority import DATABASE, DIRECTORY, faults
from phoenix.files import text
from phoenix.runs.reporter import report_note
from phoenix.shell import Script
from phoenix.site.model import Site

FOLDER = "components/step_ca"
_WRITE = Script(
    "ca-names", 'umask 022; cat >"$1.new" && sync -- "$1.new" && mv -f -- "$1.new" "$1"'
)


@cache
def shipped(name: str) -> Script:
    """A guest-side script of the CA, behind the functions that it shares with the others."""
    return Script(
        f"step-ca-{name.removesuffix('.sh')}", text(f"{FOLDER}/keys.sh", f"{FOLDER}/{name}")
    )


@operation(reads=lambda *_, **__: [question(CertificateAuthority)])
def initialised(
    site: Site, *, organisation: str, years: int, password: SecretStr | None = None
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Create root and intermediate on this guest, once; never change existing ones.

    Args:
        organisation: O of both subjects, and the start of their common names.
        years: lifetime of root and intermediate.
        password: of the keys; made on the guest, and known only there, when None.

    The host is refused, and nothing overwritten, when files of an earlier initialisation are
    incomplete, do not fit together, or are readable by others.
    """
    state = read(question(CertificateAuthority))
    if state.absent:
        log_reasons(f"makes root and intermediate of {organisation}, valid for {years} years")
        yield script(
            shipped("init.sh"), DIRECTORY, organisation, site.domain,
            " ".join(subnet.with_netmask for subnet in site.subnets), years,
            stdin=password.get_secret_value() if password else "\n",
        )  # fmt: skip
        return
    if problems := faults(state):
        yield from refuse("the CA on this guest cannot be used: " + "; ".join(problems))
        return
    host.noop("the CA's keys and certificates are there and fit together")


@operation(reads=lambda unit, port, **_: [question(CaDatabase, unit=unit, port=port)])
def database_opens(
    *, unit: str, port: int, copies: str
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Replace the CA's database if the CA cannot open it.

    The old one is kept below `copies`. In its place comes the first of these that the CA starts
    with: the same without its torn end, the copies there, an empty one. A client whose account the
    CA no longer knows registers anew by itself (components/acme/phoenix-acme).

    Args:
        unit: the CA's systemd unit.
        port: where it serves.
        copies: directory of the copies of the database.
    """
    fault = read(question(CaDatabase, unit=unit, port=port))
    if not fault:
        host.noop("nothing is wrong with the CA's database")
        return
    log_reasons(
        f"the CA cannot open its database: {fault}",
        f"it is kept below {copies}; in its place comes the first of these that the CA opens: the "
        "same without its torn end, the latest copy, an empty one",
    )
    program = Script("step-ca-repair", text(DATABASE, f"{FOLDER}/repair.sh"))
    yield script(program, DIRECTORY, unit, port, copies)
    if host.state.is_executing:  # the command before this line has succeeded
        report_note(
            host.name, f"the CA opens its database again; the torn one is kept below {copies}"
        )


@operation(reads=lambda *_, **__: [question(NamesOfCertificates)])
def declared_names_recorded(names: Sequence[str], *, longest: float) -> Generator[StringCommand]:
    """The CA's guest remembers which names the site declares, and until when it declared others.

    Args:
        names: of all certificates.
        longest: lifetime of a certificate, in seconds.
    """
    now, before = read(question(NamesOfCertificates))
    after = declared_names.following(before, names, now, longest)
    if after == list(before):
        host.noop("the CA's guest remembers the names of certificates")
        return
    log_reasons(f"the site declares {len(names)} names of certificates")
    yield script(_WRITE, declared_names.FILE, stdin="".join(f"{line}\n" for line in after))
