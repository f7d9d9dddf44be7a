"""The state of certificates: in a file, served by a port, kept by `phoenix-acme`.

A private key never leaves its host: the commands print certificates, public keys and modes alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.components.acme import phoenix_acme_conf as acme
from phoenix.components.x509 import (
    CertificateError,
    CertificateInfo,
    parse_chain,
    public_key_digest,
)
from phoenix.net.pem import ONLY_CERTIFICATES
from phoenix.shell import Script

# s_client also prints the session's secrets, which have no business in a log: let through by name.
_REPORT = "-e '/^ *Verify return code:/p' -e '/^ *Protocol *:/p' -e '/:error:/p'"
# The chain in the file "$1"; with a key "$2" its owner and mode, and its public half.
_FILE = Script(
    "certificate-file",
    rf"""[ -e "$1" ] || exit 0
echo file; {ONLY_CERTIFICATES} -- "$1"
[ -n "$2" ] || exit 0
stat -L -c 'key %U %G 0%a' -- "$2" 2>/dev/null
openssl pkey -in "$2" -passin pass: -pubout 2>/dev/null
:""",
)
_STATUS = Script("acme-status", '[ ! -x "$1" ] || "$1" status "$2"')
_PEM = re.compile(r"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----.*?-----END \1-----", re.DOTALL)
_VERIFY = re.compile(r"^\s*Verify return code: (\d+) \((.*)\)\s*$", re.MULTILINE)
_PROTOCOL = re.compile(r"^\s*Protocol\s*: (TLSv[\d.]+)", re.MULTILINE)


@dataclass(frozen=True)
class KeyFile:
    """Owner, group and octal mode (`0600`) of a private key; `readable`: openssl could load it."""

    owner: str
    group: str
    mode: str
    readable: bool


@dataclass(frozen=True)
class CertificateFileState:
    """A chain on disk, leaf first. `key` is None where it is absent, or was not asked for."""

    chain: tuple[CertificateInfo, ...]
    key: KeyFile | None

    @property
    def leaf(self) -> CertificateInfo:
        """The certificate that a service presents."""
        return self.chain[0]


@dataclass(frozen=True)
class ServedState:
    """The certificate of a port. `verify_code` is OpenSSL's X509_V_* (0: verified, 62: other name).

    With no TLS session `chain` is empty and `error` holds the reason.
    """

    chain: tuple[CertificateInfo, ...]
    verify_code: int | None
    verify_message: str
    protocol: str
    error: str

    @property
    def leaf(self) -> CertificateInfo | None:
        """The certificate that the service presents; None without a session."""
        return self.chain[0] if self.chain else None

    @property
    def fault(self) -> str:
        """Why a client that verifies refuses this; empty where it does not."""
        if not self.chain or self.verify_code == 0:
            return self.error
        return self.verify_message or f"OpenSSL's verify result is {self.verify_code}"


@dataclass(frozen=True)
class AcmeState:
    """The state that `phoenix-acme status` reports; `not_after` is seconds since 1970.

    pair: missing, placeholder or issued. due: why `ensure` would issue, or empty. permissions: ok
    or drifted. error: why the configuration cannot be used, or empty. failure: when and why the
    last renewal failed, in the words of the ACME client; empty where it did not, or nobody knows.
    also: names that the pair proves beside its own for a time.
    """

    error: str
    due: str
    pair: str
    serial: str
    not_after: int | None
    loaded: bool
    permissions: str
    failure: str = ""
    also: str = ""


class CertificateFile(HostFact[CertificateFileState | None]):
    """The chain in a PEM file and whether a private key belongs to its leaf; None: no such file.

    Needs openssl on the host only where `key` is given.
    """

    def command(self, path: str, key: str | None = None) -> StringCommand:
        """Prints the chain, then the key's state and its public half."""
        return marked(script(_FILE, path, key or ""))

    def parse(self, lines: list[str]) -> CertificateFileState | None:
        """Parse the output of `command`; junk is a FactProcessError."""
        return parse_certificate_file(lines)


class ServedCertificate(HostFact[ServedState]):
    """The chain that `address:port` serves for an SNI name, verified by the host that asks.

    `ca_file` alone is trusted where given, else the host's trust store. Deadline: 10 s.
    """

    def command(
        self, address: str, port: int, server_name: str, ca_file: str | None = None
    ) -> StringCommand:
        """One s_client session that sends nothing."""
        return marked(served([(address, port, server_name)], ca_file))

    def parse(self, lines: list[str]) -> ServedState:
        """Parse s_client's report; junk is a FactProcessError."""
        return parse_served(_reports(lines, 1)[0])


# One s_client session for each ADDRESS:PORT<tab>NAME, all at once; "endpoint N" begins each report.
_SERVED = Script(
    "served",
    rf"""command -v openssl >/dev/null || {{ echo "openssl is missing on this host"; exit 1; }}
work=$(mktemp -d) || {{ echo "no file can be made in /tmp on this host"; exit 1; }}
trap 'rm -rf "$work"' EXIT; trust=$1; shift; n=0
for one; do
 n=$((n + 1)); (
  name=${{one#*$(printf '\t')}}
  timeout 10 openssl s_client -connect "${{one%%$(printf '\t')*}}" -servername "$name" \
   -verify_hostname "$name" -showcerts ${{trust:+-CAfile "$trust" -no-CApath -no-CAstore}} \
   </dev/null 2>&1 | {ONLY_CERTIFICATES} {_REPORT} >"$work/$n" ) &
done; wait
i=0; while [ $i -lt $n ]; do i=$((i + 1)); echo "endpoint $i"; cat "$work/$i"; done
""",
)
_ENDPOINT = re.compile(r"endpoint (\d+)")


class ServedCertificates(HostFact[list[ServedState]]):
    """`ServedCertificate` of many endpoints, in their order: one round trip, all asked at once.

    An endpoint is address, port and SNI name. An unreadable chain is the `error` of that endpoint
    alone: the others are reported.
    """

    def command(
        self, endpoints: Sequence[tuple[str, int, str]], ca_file: str | None = None
    ) -> StringCommand:
        """One shell that asks all endpoints."""
        self._count = len(endpoints)
        return marked(served(endpoints, ca_file))

    def parse(self, lines: list[str]) -> list[ServedState]:
        """Parse the reports; one that is missing is a FactProcessError."""
        return parse_served_all(lines, self._count)


def served(endpoints: Sequence[tuple[str, int, str]], ca_file: str | None) -> StringCommand:
    """The command that asks all endpoints; `parse_served_all` reads its output."""
    rows = [f"{_host(address)}:{port}\t{name}" for address, port, name in endpoints]
    return script(_SERVED, ca_file or "", *rows)


class AcmeStatus(HostFact[AcmeState | None]):
    """The state of a certificate that `phoenix-acme` keeps; None: the script is not there yet."""

    def command(self, certificate: str) -> StringCommand:
        """`phoenix-acme status`, if it is installed."""
        return marked(script(_STATUS, acme.PROGRAM, certificate))

    def parse(self, lines: list[str]) -> AcmeState | None:
        """Parse the line of JSON; junk is a FactProcessError."""
        return parse_acme_status(lines)


def parse_certificate_file(output: Sequence[str]) -> CertificateFileState | None:
    """The state from CertificateFile's lines.

    Raises:
        FactProcessError: the file holds no chain.
    """
    if not output:
        return None
    text = "\n".join(output)
    if output[0] != "file":
        raise unexpected(output[0], of="the certificate fact")
    blocks = _blocks(text)
    stat = re.search(r"^key (\S+) (\S+) (0\d+)$", text, re.MULTILINE)
    try:
        public_key = next((public_key_digest(pem) for kind, pem in blocks if kind != _CERT), None)
        # A key file that is there and cannot be read is a mismatch, not an open question.
        expected_key = public_key if public_key is not None or stat is None else "unreadable"
        chain = parse_chain(
            "\n".join(pem for kind, pem in blocks if kind == _CERT), key=expected_key
        )
    except CertificateError as error:
        raise FactProcessError(f"the certificate file cannot be used: {error}") from error
    key = KeyFile(stat[1], stat[2], stat[3], public_key is not None) if stat else None
    return CertificateFileState(chain=chain, key=key)


def parse_served(output: Sequence[str]) -> ServedState:
    """The state from s_client's lines.

    Raises:
        FactProcessError: the chain is unreadable.
    """
    text = "\n".join(output)
    blocks = [pem for kind, pem in _blocks(text) if kind == _CERT]
    if not blocks:
        return ServedState((), None, "", "", _connect_error(output))
    verdict = _VERIFY.search(text)
    if verdict is None:
        raise FactProcessError("openssl s_client reported no verify result")
    # Some versions of s_client show the leaf again after the chain.
    try:
        chain = parse_chain("\n".join(dict.fromkeys(blocks)))
    except CertificateError as error:
        raise FactProcessError(f"the served certificate cannot be used: {error}") from error
    protocol = _PROTOCOL.search(text)
    return ServedState(
        chain, int(verdict[1]), verdict[2], protocol[1] if protocol else "", error=""
    )


def parse_served_all(output: Sequence[str], count: int) -> list[ServedState]:
    """The states from ServedCertificates' lines.

    Raises:
        FactProcessError: an endpoint's state is missing.
    """
    states = []
    for report in _reports(output, count):
        try:
            states.append(parse_served(report))
        except FactProcessError as error:
            states.append(ServedState((), None, "", "", str(error)))
    return states


def _reports(output: Sequence[str], count: int) -> list[list[str]]:
    reports: list[list[str]] = []
    for line in output:
        head = _ENDPOINT.fullmatch(line)
        if head and int(head[1]) == len(reports) + 1:
            reports.append([])
        elif reports:
            reports[-1].append(line)
        else:
            raise unexpected(line)
    if len(reports) != count:
        raise FactProcessError(f"{count} endpoints were asked, {len(reports)} reported")
    return reports


def parse_acme_status(output: Sequence[str]) -> AcmeState | None:
    """The state from one line of JSON.

    Raises:
        FactProcessError: the output is something else.
    """
    if not output:
        return None
    try:
        data = json.loads("\n".join(output))
        if data["pair"] not in ("missing", "placeholder", "issued"):
            raise ValueError(f"unknown pair {data['pair']!r}")
        return AcmeState(
            error=str(data["error"]),
            due=str(data["due"]),
            pair=data["pair"],
            serial=str(data["serial"]),
            not_after=None if data["not_after"] is None else int(data["not_after"]),
            loaded=data["loaded"] is True,
            permissions=str(data["permissions"]),
            failure=str(data.get("failure", "")),  # the program there may be of an earlier release
            also=str(data.get("also", "")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FactProcessError(f"phoenix-acme status gave no usable answer: {error!r}") from error


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


_CERT = "CERTIFICATE"


def _blocks(text: str) -> list[tuple[str, str]]:
    return [(match[1], match[0]) for match in _PEM.finditer(text)]


def _connect_error(output: Sequence[str]) -> str:
    for line in output:
        # 40C7…:error:8000006F:system library:BIO_connect:Connection refused:../crypto/…:
        parts = line.split(":")
        if len(parts) > 5 and parts[1] == "error":
            return parts[5].strip() or parts[4]
    return "no certificate was served within 10 s"
