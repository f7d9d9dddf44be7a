"""What is wrong with a declaration: where, why, and what fixes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning"]
_LONGEST = 500


def visible(text: str) -> str:
    """Text of a file as a terminal may show it: on one line, its control characters written out.

    What is longer than a person reads is cut.
    """
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text)} characters)"
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


@dataclass(frozen=True, order=True)
class Finding:
    """One thing wrong in one place.

    `path` is the place inside `file`, as `lxc_configs.101.network_config.ip` or
    `vms[1].name`; empty for the file as a whole. `fix` says what to write instead.
    """

    file: str
    path: str
    message: str
    fix: str
    severity: Severity = "error"
    unread: bool = field(default=False, compare=False)
    """Whether it is about a key or setting that nothing reads, so perhaps a slip of the pen."""

    def __post_init__(self) -> None:
        """Take text of a faulty file as `visible` writes it."""
        for name in ("file", "path", "message", "fix"):
            object.__setattr__(self, name, visible(getattr(self, name)))

    def __str__(self) -> str:
        """Render as one line of a report."""
        place = f"{self.file}: {self.path}" if self.path else self.file
        return f"{place}: {self.message}\n    fix: {self.fix}"


class OperatorError(Exception):
    """An error whose text is for the operator: complete, and without a secret.

    Any other that ends a step is a fault of this program.
    """


class SettingError(OperatorError, ValueError):
    """A declaration, setting or secret that cannot be used; says which, why, and the fix."""


class NameLookupError(LookupError):
    """An operator's word means nothing in the site, or several things; the text says what to do."""


class ConfigError(ValueError):
    """The declaration cannot work. `findings` holds every error found, not only the first.

    `warnings` are what was found beside them.
    """

    def __init__(self, findings: Iterable[Finding], warnings: Iterable[Finding] = ()) -> None:
        """Keep the findings in the order they were made."""
        self.findings: tuple[Finding, ...] = tuple(findings)
        self.warnings: tuple[Finding, ...] = tuple(warnings)
        super().__init__(self.findings)

    def __str__(self) -> str:
        """Render a report for a person, one finding after the other."""
        count = len(self.findings)
        head = f"{count} error{'' if count == 1 else 's'} in the site's declaration"
        return "\n".join([f"{head}:", *(f"- {finding}" for finding in self.findings)])


@dataclass
class Report:
    """Collects findings while a site is loaded; the same finding is kept once."""

    findings: list[Finding] = field(default_factory=list)
    _known: set[Finding] = field(default_factory=set)

    def error(self, file: str, path: str, message: str, fix: str) -> None:
        """Note something that cannot work."""
        self.add(Finding(file, path, message, fix, "error"))

    def warn(self, file: str, path: str, message: str, fix: str) -> None:
        """Note something that is ignored, guessed or unwise."""
        self.add(Finding(file, path, message, fix, "warning"))

    def unread(self, file: str, path: str, message: str, fix: str) -> None:
        """Warn of a key, setting or file that nothing reads: under --strict an error."""
        self.add(Finding(file, path, message, fix, "warning", unread=True))

    def add(self, finding: Finding) -> None:
        """Note a finding that was made elsewhere."""
        if finding not in self._known:
            self._known.add(finding)
            self.findings.append(finding)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """All errors so far, in the order found."""
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """All warnings so far, in the order found."""
        return tuple(f for f in self.findings if f.severity == "warning")

    def raise_errors(self) -> None:
        """Raise ConfigError if anything cannot work."""
        if self.errors:
            raise ConfigError(self.errors, self.warnings)
