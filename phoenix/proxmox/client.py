"""Requests to the Proxmox VE API that end in a result or in a message that a person can act on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from proxmoxer import ProxmoxAPI, ResourceException  # type: ignore[import-untyped]

from phoenix.proxmox.errors import (
    LockedError,
    LostAnswerError,
    ProxmoxError,
    SilentError,
    TaskTimeoutError,
    UnreachableError,
)
from phoenix.proxmox.refusals import refusal, task_failure

_UPID = re.compile(r"UPID:(?P<node>[^:]+):[^:]+:[^:]+:[^:]+:(?P<type>[^:]*):(?P<id>[^:]*):")
_READ_TRIES = 5
_SAID_SECONDS = 15
"""How often a person is told what a long task is at."""
_LOG_LINES = 12


class Addresses:
    """The API at several nodes, and which of them is asked; the clients of a run share it.

    Args:
        apis: from `phoenix.proxmox.transport.connect`, in the order to try them.
    """

    def __init__(self, *apis: ProxmoxAPI) -> None:
        """The first one is asked."""
        self._apis = apis
        self._at = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._apis)

    @property
    def api(self) -> ProxmoxAPI:
        """The one that is asked."""
        return self._apis[self._at]

    @property
    def name(self) -> str:
        """Where that is, for messages: host and port."""
        return str(urlsplit(self.api._store["base_url"]).netloc)

    def next(self) -> None:
        """Ask the next one from now on; after the last the first."""
        self._at = (self._at + 1) % len(self._apis)


class Client:
    """The API, with retries: it reads again after an error, waits for locks, follows tasks.

    Any node of a cluster answers for all of them. So a request that its node did not get goes to
    the next address, and those after it as well; a write whose answer is lost is not sent again.

    Args:
        api: from `phoenix.proxmox.transport.connect`, or several of them.
        task_seconds: how long one task may take.
        lock_seconds: how long to wait for a guest that another task holds.
        log: takes a line for a person when there is something to wait for.
    """

    def __init__(
        self,
        api: ProxmoxAPI | Addresses,
        *,
        task_seconds: float = 900,
        lock_seconds: float = 120,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Send nothing yet."""
        self._addresses = api if isinstance(api, Addresses) else Addresses(api)
        self._task_seconds = task_seconds
        self._lock_seconds = lock_seconds
        self._sleep = sleep
        self._clock = clock
        self._log = log

    def get(self, path: str, /, **params: Any) -> Any:
        """The data of a GET, tried again while the network or the node fails.

        Raises:
            ProxmoxError: and its kinds.
        """
        for attempt in range(1, _READ_TRIES + 1):
            try:
                return self._send("GET", path, params)
            except (UnreachableError, LostAnswerError) as error:
                if attempt == _READ_TRIES:
                    raise UnreachableError(f"{error} (tried {_READ_TRIES} times)") from None
                self._sleep(0.3 * 2**attempt)
        raise AssertionError("unreachable")

    def write(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> None:
        """A write, and the task that it starts, followed to its end.

        What a lock refuses is tried again until `lock_seconds` are over: nothing was written.

        Raises:
            LostAnswerError: sent, but whether it happened is unknown.
            ChangedError: the configuration changed since it was read; nothing was written.
            AlreadyError, LockedError, QuorumError, TaskFailedError, TaskTimeoutError, LoginError:
                see each class.
            ProxmoxError: the API refused it, with its reason.
        """
        deadline = self._clock() + self._lock_seconds
        logged = False
        while True:
            try:
                answer = self._send(method, path, data or {})
                if isinstance(answer, str) and _UPID.match(answer):
                    self.follow(answer)
                return
            except LockedError as error:
                if self._clock() >= deadline:
                    raise LockedError(
                        f"{error}\n  it stayed locked for {self._lock_seconds:g} s. fix: wait "
                        "for that task (a backup?) to end and run again; if none runs and it is a "
                        "guest's lock, it is a left-over: `qm unlock ID` or `pct unlock ID` on the "
                        "hypervisor"
                    ) from None
                if not logged:
                    self._log(f"waiting for a lock: {error}")
                    logged = True
                self._sleep(2.0)

    def follow(self, upid: str) -> None:
        """Wait until a task has ended well; warnings of it are logged.

        Raises:
            TaskFailedError: with its exit status and the end of its log.
            TaskTimeoutError: it still runs after `task_seconds`.
            LockedError: it failed because another task held the guest.
            AlreadyError: it found the guest to be so already.
        """
        parts = _UPID.match(upid)
        if not parts:
            raise ProxmoxError(f"{upid!r} is not a task id")
        path = f"nodes/{parts['node']}/tasks/{upid}"
        task = f"task {parts['type']} {parts['id']}".strip()
        began = self._clock()
        deadline = began + self._task_seconds
        reported_at, pause = began, 0.1
        while (status := self.get(f"{path}/status")).get("status") != "stopped":
            if self._clock() - reported_at >= _SAID_SECONDS:
                reported_at = self._clock()
                self._log(f"{task} goes on, {reported_at - began:.0f} s: {self._last_line(path)}")
            if self._clock() >= deadline:
                raise TaskTimeoutError(
                    f"{task} still runs after {self._task_seconds:g} s and was left running "
                    f"({upid}). fix: look at its log in Proxmox VE, then run again; or raise "
                    "proxmox_task_seconds"
                )
            self._sleep(pause)
            pause = min(pause * 1.5, 3.0)
        result = str(status.get("exitstatus", ""))
        if result == "OK":
            return
        if result.startswith("WARNINGS"):
            self._log(f"{task} ended with {result}:\n{self._task_log(path)}")
            return
        raise task_failure(f"{task} failed: {result}\n{self._task_log(path)}", result)

    def wait(self, done: Callable[[], bool], condition: str) -> None:
        """Ask again and again until something is so.

        Args:
            done: asks; it ends the wait by an error as well.
            condition: what is waited for, for the message.

        Raises:
            TaskTimeoutError: it is not so after `task_seconds`.
            ProxmoxError: what `done` raises.
        """
        deadline = self._clock() + self._task_seconds
        pause = 0.1
        while not done():
            if self._clock() >= deadline:
                raise TaskTimeoutError(
                    f"{condition}: not so after {self._task_seconds:g} s. fix: look at the guest's "
                    "tasks in Proxmox VE, then run again; or raise proxmox_task_seconds"
                )
            self._sleep(pause)
            pause = min(pause * 1.5, 3.0)

    def _last_line(self, path: str) -> str:
        """The last line of a task's log, as of a download how far it is; empty where none is."""
        try:
            total = self.get(f"{path}/log", limit=5000)
        except ProxmoxError:
            return ""
        lines = [text for line in total if (text := str(line.get("t", "")).strip())]
        return lines[-1] if lines else ""

    def _task_log(self, path: str) -> str:
        try:
            total = self.get(f"{path}/log", limit=5000)
        except ProxmoxError as error:
            return f"  (its log can't be read: {error})"
        lines = [str(line.get("t", "")) for line in total]
        return "\n".join(f"  | {line}" for line in lines[-_LOG_LINES:])

    def _send(self, method: str, path: str, values: Mapping[str, Any]) -> Any:
        """One request, by the first address that takes it, from the one that answered last.

        Raises:
            UnreachableError: none takes it; it names each address with its reason.
        """
        failures: list[str] = []
        count = len(self._addresses)
        for attempt in range(1, count + 1):
            try:
                return self._send_to(self._addresses.api, method, path, values)
            except SilentError as error:
                if count == 1:
                    raise
                failures.append(f"{self._addresses.name}: {error}")
                self._addresses.next()
                if attempt < count:
                    following = self._addresses.name
                    self._log(f"{failures[-1]}; the API is asked at {following} instead")
        raise UnreachableError(
            "no address of proxmox_api and proxmox_other_apis takes the request:\n"
            + "\n".join(f"  {line}" for line in failures)
        )

    def elsewhere(self) -> Iterator[str]:
        """The addresses, by name, each asked from then on until one is taken; the present first."""
        for attempt in range(len(self._addresses)):
            if attempt:
                self._addresses.next()
                self.forget()
            yield self._addresses.name

    def forget(self) -> None:
        """Nothing: each request is sent."""

    def _send_to(self, api: ProxmoxAPI, method: str, path: str, values: Mapping[str, Any]) -> Any:
        resource = api(path.strip("/"))
        request = f"{method} /{path.strip('/')}"
        try:
            answer = getattr(resource, method.lower())(**dict(values))
        except ResourceException as error:
            raise refusal(request, error) from None
        except requests.exceptions.SSLError as error:
            raise SilentError(
                f"{request}: the API's certificate is not the expected one: {error}. fix: check "
                "proxmox_fingerprint or proxmox_ca_file against the hypervisor's certificate"
            ) from None
        except requests.exceptions.TooManyRedirects as error:
            where = error.response.headers["location"] if error.response is not None else "?"
            raise ProxmoxError(
                f"{request}: the answer redirects to {where}, which must not see the token. "
                "fix: set proxmox_api to the API's own address"
            ) from None
        except requests.exceptions.RequestException as error:
            if method == "GET" or _never_sent(error):
                raise SilentError(f"{request}: no answer: {_reason(error)}") from None
            raise LostAnswerError(
                f"{request} was sent and its answer lost ({_reason(error)}). fix: run again: the "
                "next run reads the state and continues from it"
            ) from None
        if isinstance(answer, dict) and isinstance(answer.get("errors"), bytes):
            raise ProxmoxError(f"{request}: the answer is not JSON: is this Proxmox VE's API?")
        return answer


def _never_sent(error: requests.exceptions.RequestException) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    return "NewConnectionError" in repr(error)


def _reason(error: requests.exceptions.RequestException) -> str:
    return f"{type(error).__name__}: {error}"


class ReadOnce(Client):
    """A client for comparisons: it keeps each answer until `forget`, and never writes."""

    def __init__(
        self,
        api: ProxmoxAPI | Addresses,
        *,
        seconds: float = 30,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        """Read nothing yet.

        Args:
            api: as for `Client`; `options` are its other arguments.
            seconds: how long an answer is kept; somebody else may change something meanwhile.
            clock: the present time in seconds.
        """
        super().__init__(api, clock=clock, **options)
        self._seconds = seconds
        self._answers: dict[str, tuple[float, str]] = {}

    def get(self, path: str, /, **params: Any) -> Any:
        """`Client.get`, or its earlier answer; errors are not kept.

        Raises:
            ProxmoxError: as `Client.get`.
        """
        key = f"{path} {sorted(params.items())}"
        now = self._clock()
        if key not in self._answers or now - self._answers[key][0] > self._seconds:
            self._answers[key] = (now, json.dumps(super().get(path, **params)))
        return json.loads(self._answers[key][1])  # whoever asks may change what it is given

    def write(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> None:
        """Refuse: this client never writes.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{method} {path}: a client that reads once must not write {data}")

    def forget(self) -> None:
        """Read again from now on."""
        self._answers.clear()
