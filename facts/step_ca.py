"""The state of the certificate authority on its guest."""

from __future__ import annotations

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.components.step_ca import declared_names
from phoenix.components.step_ca.authority import (
    DATABASE,
    DIRECTORY,
    CaState,
    StepCaError,
    parse_state,
)
from phoenix.files import text
from phoenix.shell import Script

_SCRIPT = Script(
    "step-ca",
    """cd "$1" 2>/dev/null || exit 0
export SSL_CERT_FILE=/dev/null  # else x509 reads all roots of the system first
find certs secrets rotation/next -type f -printf 'mode %m %p\\n' 2>/dev/null
k=secrets/intermediate_ca_key c=certs/intermediate_ca.crt r=certs/root_ca.crt p=secrets/password
if pub=$(openssl pkey -in $k -passin file:$p -pubout 2>/dev/null); then echo 'yes opens'
 [ "$pub" = "$(openssl x509 -in $c -noout -pubkey 2>/dev/null)" ] && echo 'yes matches'; fi
openssl verify -no-CApath -no-CAstore -CAfile $r $c >/dev/null 2>&1 && echo 'yes chains'
pem() { openssl x509 -in "$2" 2>/dev/null | sed "s/^/$1 /"; }
pem root $r; pem intermediate $c
tr -d '\n ' <config/ca.json 2>/dev/null | sed -n 's/.*"dnsNames":\\[\\([^]]*\\)\\].*/\\1/p' |
 tr -d '"' | tr ',' '\n' | sed 's/^/served /'; echo
n=rotation; if [ -s $n/kind ]; then
 echo "rotation $(cat $n/kind)"; pem earlier $n/earlier_root_ca.crt
 if [ -e $n/switched ]; then echo 'phase switched'; else
  pem later $n/next/certs/root_ca.crt; pem next $n/next/certs/intermediate_ca.crt
  if [ -e $n/switching ]; then echo 'phase switching'; else echo 'phase prepared'; fi
 fi
fi
:""",
)

_NAMES = Script("ca-names", 'date +%s; [ ! -s "$1" ] || cat -- "$1"')


class CertificateAuthority(HostFact[CaState]):
    """The CA's files: modes, whether they fit together, certificates, names, and any rotation.

    No key and no password leaves the guest. Unexpected output is a FactProcessError.
    """

    @override
    def command(self, directory: str = DIRECTORY) -> StringCommand:
        return marked(script(_SCRIPT, directory))

    @override
    def parse(self, lines: list[str]) -> CaState:
        try:
            return parse_state([line for line in lines if line])
        except StepCaError as error:
            raise FactProcessError(str(error)) from error


class CaDatabase(HostFact[str]):
    """Why the CA cannot open its database, in its own words; empty where it can.

    A CA that is down for another reason gives an empty answer.
    """

    @override
    def command(self, unit: str, port: int, directory: str = DIRECTORY) -> StringCommand:
        program = f'{text(DATABASE)}database_fault "$1" "$2" "$3" || :\n'
        return marked(script(Script("step-ca-database", program), directory, unit, str(port)))

    @override
    def parse(self, lines: list[str]) -> str:
        return " ".join(line for line in lines if line)


class NamesOfCertificates(HostFact[tuple[int, tuple[str, ...]]]):
    """The clock of the CA's guest, in seconds since 1970, and the lines of its file of names.

    Raises FactProcessError for output of another form.
    """

    @override
    def command(self) -> StringCommand:
        return marked(script(_NAMES, declared_names.FILE))

    @override
    def parse(self, lines: list[str]) -> tuple[int, tuple[str, ...]]:
        if not lines or not lines[0].isdigit():
            raise unexpected(lines[:1])
        return int(lines[0]), tuple(line for line in lines[1:] if line)
