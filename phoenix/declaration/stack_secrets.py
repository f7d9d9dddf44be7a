"""Owners of the stacks' secrets: a stack may not use one of the platform or of another stack.

A secret belongs to the stack that names it. If its name begins with a stack's name and an
underscore, that stack is the owner. Another stack gets it if the owner lists that stack in
`shared_secrets`. If several stacks name it and the name shows no owner, each must list the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from phoenix.declaration.json_errors import listed
from phoenix.site import suggestions
from phoenix.site.findings import Report
from phoenix.site.secret_names import NEW, PLATFORM, is_secret_name


@dataclass(frozen=True)
class NamedSecret:
    """One place of a stack's manifest that names a secret; `name` is in lower case."""

    stack: str
    name: str
    file: str
    path: str


@dataclass
class StackSecrets:
    """What the deployed stacks name, and what each of them shares.

    Attributes:
        stacks: names of all stacks that have a manifest.
        file: what findings call the file that declares a stack.
        shared: for each stack, its secrets (in lower case) and the stacks that may name them.
    """

    stacks: Iterable[str]
    file: Callable[[str], str]
    references: list[NamedSecret] = field(default_factory=list)
    shared: dict[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)

    def share(self, stack: str, shared: Mapping[str, Iterable[str]]) -> None:
        """Note what a stack's manifest says in `shared_secrets`."""
        self.shared[stack] = {name.lower(): frozenset(to) for name, to in shared.items()}

    def _check_shares(self, report: Report) -> None:
        """Tell of stacks that are given a secret and are not there: a slip of the pen, perhaps."""
        for stack, secrets in self.shared.items():
            for name, others in secrets.items():
                for other in sorted(others.difference(self.stacks)):
                    report.unread(
                        self.file(stack),
                        f"shared_secrets.{name.upper()}",
                        f"there is no stack {other!r} to share it with",
                        suggestions.fix(other, self.stacks),
                    )

    def check(self, report: Report) -> None:
        """Refuse each secret that is not its stack's to name.

        Args:
            report: where the findings go, each with the file and the path that names the secret.
        """
        self._check_shares(report)
        users: dict[str, set[str]] = {}
        for secret in self.references:
            users.setdefault(secret.name, set()).add(secret.stack)
        prefixes = {f"{stack.lower().replace('-', '_')}_": stack for stack in self.stacks}
        for secret in dict.fromkeys(self.references):
            if not is_secret_name(secret.name):
                report.error(
                    secret.file,
                    secret.path,
                    f"{secret.name[:80]!r} is not a secret's name",
                    "use letters, digits and underscores, beginning with a letter",
                )
            elif (platform_secret := secret.name.removesuffix(NEW)) in PLATFORM:
                report.error(
                    secret.file,
                    secret.path,
                    f"secret {secret.name.upper()} is the platform's, and no stack may have it: "
                    f"whoever has the containers of {secret.stack} would have {platform_secret}",
                    f"name a secret of the stack's own, as {_own_name(secret)}",
                )
            else:
                self._check_owner(secret, users, prefixes, report)

    def _check_owner(
        self,
        secret: NamedSecret,
        users: Mapping[str, set[str]],
        prefixes: Mapping[str, str],
        report: Report,
    ) -> None:
        owner = _owner(secret.name, prefixes)
        if owner == secret.stack:
            return
        # NAME_new is what the next rotation of NAME takes: it is NAME's owner's.
        same = users[secret.name] | users.get(secret.name.removesuffix(NEW), set())
        others = [owner] if owner is not None else sorted(same - {secret.stack})
        refusing = [
            other for other in others if not self._may(secret, other, by_name=owner == other)
        ]
        if not refusing:
            return
        sharing = f'"shared_secrets": {{"{secret.name.upper()}": ["{secret.stack}"]}}'
        owners = listed(refusing[:5]) + (
            f" and {more} more" if (more := len(refusing) - 5) > 0 else ""
        )
        if owner is None:
            fix = (
                f"name a secret of its own, as {_own_name(secret)}; or, where one value is to be "
                f"known to them all, write {sharing} in the manifest of each of the others, "
                f"and the others' names likewise in {secret.file}"
            )
        else:
            fix = (
                f"name a secret of its own, as {_own_name(secret)}; or have its owner share it: "
                f"write {sharing} in {self.file(owner)}"
            )
        report.error(
            secret.file,
            secret.path,
            f"secret {secret.name.upper()} is that of stack {owners}, "
            f"not shared with {secret.stack}",
            fix,
        )

    def _may(self, secret: NamedSecret, other: str, *, by_name: bool) -> bool:
        """Whether `other`, the owner by its name or not, shares `secret` with its stack."""
        shared = secret.stack in self._shared_with(other, secret.name)
        return shared and (by_name or other in self._shared_with(secret.stack, secret.name))

    def _shared_with(self, owner: str, name: str) -> frozenset[str]:
        return self.shared.get(owner, {}).get(name, frozenset())


def _owner(name: str, prefixes: Mapping[str, str]) -> str | None:
    """The stack whose name the secret's begins with; of several the longest."""
    ends = [position + 1 for position, letter in enumerate(name) if letter == "_"]
    return next((prefixes[name[:end]] for end in reversed(ends) if name[:end] in prefixes), None)


def _own_name(secret: NamedSecret) -> str:
    """A name that begins with the stack's: `CRM_DATABASE_PASS` for `DATABASE_PASS`."""
    return f"{secret.stack.replace('-', '_')}_{secret.name}".upper()
