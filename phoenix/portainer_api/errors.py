"""The errors of Portainer's API, each a type of its own."""

from __future__ import annotations

from phoenix.site.findings import OperatorError

_AGENT_AWAY = (
    "Portainer does not reach the Docker behind this environment: check that its agent runs and is "
    "reached from Portainer's guest"
)


class PortainerError(OperatorError):
    """Base of every error of this package; its text never holds a credential."""


class InvalidInputError(PortainerError):
    """The input can't work; raised before any request is sent."""


class PasswordRefusedError(InvalidInputError):
    """Neither the present nor the new password of a user logs in."""


class UnreachableError(PortainerError):
    """There was no HTTP answer: the connection, TLS or name lookup failed. The text says which."""


class UnknownOutcomeError(PortainerError):
    """A changing request got no answer in time, or a 502/504 from something in between.

    Portainer keeps deploying after its client went away, so the request must not be sent
    again: read the state instead.
    """


class AnswerError(PortainerError):
    """An answer that is not of the form that is known: is it Portainer, of a known version?"""

    def __init__(self, detail: str) -> None:
        """What was expected, and not found."""
        super().__init__(f"the answer is of another form than Portainer's and Docker's: {detail}")


class DeploymentFailedError(PortainerError):
    """A deployment ended badly, by its engine's words or by its containers."""


class ApiError(PortainerError):
    """Portainer answered with an error.

    Attributes:
        status: the HTTP status code.
        message: Portainer's ``message``, or the plain text body, or "" (an empty 502).
        details: Portainer's ``details``, "" when absent or equal to the message but for the first
            letter, which Portainer makes a capital.
        method, path: the request, without its query.
    """

    def __init__(self, status: int, message: str, details: str, method: str, path: str) -> None:
        """Drops details that only repeat the message."""
        self.status = status
        self.message = message
        same = details[:1].lower() + details[1:] == message[:1].lower() + message[1:]
        self.details = "" if same else details
        self.method = method
        self.path = path
        super().__init__(str(self))

    def __str__(self) -> str:
        """One line for a person."""
        text = ": ".join(part for part in (self.message, self.details) if part)
        if self.status in (502, 503, 504) and "/docker/" in self.path:
            text = f"{text + ': ' if text else ''}{_AGENT_AWAY}"
        return f"{self.method} {self.path}: HTTP {self.status}: {text or 'no message'}"


class AuthenticationError(ApiError):
    """401 (key or token refused) or 422 (wrong user name or password)."""


class NotFoundError(ApiError):
    """404."""


class ConflictError(ApiError):
    """409: a name in use, an administrator that exists, a deployment under way."""


class RateLimitedError(ApiError):
    """403 of the login limiter: over ten logins in a second ban the address for an hour."""


class AdminInitTimeoutError(ApiError):
    """303 with ``redirect-reason: AdminInitTimeout``: five minutes passed with no administrator."""

    def __str__(self) -> str:
        """One line for a person."""
        return (
            "Portainer has locked itself: no administrator was created within five minutes of "
            "its start. Restart the Portainer container (docker restart) and run again."
        )


class SetupTokenError(ApiError):
    """403 of admin init since 2.43: the setup token is missing or wrong."""

    def __str__(self) -> str:
        """One line for a person."""
        return (
            f"{super().__str__()} Start the server with --admin-password-file, as "
            "deploys/portainer.py does: it then asks for no setup token."
        )
