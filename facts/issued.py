"""What the CA has issued, and for which keys its guests have asked."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import MAX_SECONDS, HostFact, marked, unexpected
from phoenix.components.step_ca.authority import DIRECTORY
from phoenix.files import text
from phoenix.health.issued import AskedKeys, Issued
from phoenix.shell import Script

_ISSUED = Script("issued", '[ -d "$2" ] || exit 0; exec python3 -I -S -c "$1" "$2" $3')
_KEYS = Script(
    "asked-keys",
    """var=/var/lib/phoenix-acme
for n; do echo "certificate $n"; cat "$var/$n/keys" 2>/dev/null; done
left=$(cat "$var/removed-keys" 2>/dev/null
    for file in "$var"/*/keys; do
        name=${file%/keys}
        case " $* " in *" ${name##*/} "*) ;; *) cat "$file" 2>/dev/null ;; esac
    done)
[ -z "$left" ] || printf 'removed\\n%s\\n' "$left"
:""",
)
_LINE = TypeAdapter(Issued)


class IssuedCertificates(HostFact[tuple[Issued, ...]]):
    """What the CA has issued and is still valid, or all of it, oldest first; from its database.

    Nothing where it has no database. Raises FactProcessError for output of another form.
    """

    @override
    def command(self, which: str = "", directory: str = DIRECTORY) -> StringCommand:
        program = text("components/step_ca/issued.py")
        return marked(script(_ISSUED, program, f"{directory}/db", which), seconds=MAX_SECONDS)

    @override
    def parse(self, lines: list[str]) -> tuple[Issued, ...]:
        try:
            return tuple(_LINE.validate_json(line) for line in lines if line)
        except ValidationError as error:
            raise FactProcessError(f"the list of certificates cannot be read: {error}") from error


class KeysAskedFor(HostFact[tuple[AskedKeys, ...]]):
    """The keys that `phoenix-acme` has asked certificates for, of each of `names`.

    Those of certificates that were removed, or that the host is no longer declared to have, come
    last, without a name.

    Raises FactProcessError for output of another form.
    """

    @override
    def command(self, names: Sequence[str]) -> StringCommand:
        return marked(script(_KEYS, *names))

    @override
    def parse(self, lines: list[str]) -> tuple[AskedKeys, ...]:
        records: list[AskedKeys] = []
        for line in filter(None, lines):
            match line.split(" "):
                case ["certificate", name]:
                    records.append(AskedKeys(certificate=name))
                case ["removed"]:
                    records.append(AskedKeys(certificate=""))
                case [time, key] if time.isdigit() and records:
                    records[-1] = records[-1].with_key(int(time), key)
                case _:
                    raise unexpected(line)
        return tuple(records)
