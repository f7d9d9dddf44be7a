"""What deploys stacks: Portainer, or compose on the host itself. `converge` works with either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from .models import ContainerSummary, Stack
from .sync import ObservedStack


class StackEngine(Protocol):
    """Stores, starts and removes stacks; reads them and their containers.

    Attributes:
        clock, sleep: seconds since a start, and a pause of so many.
    """

    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def observe(self, name: str, endpoint_id: int) -> ObservedStack:
        """The stack of this (normalised) name, its file and its containers."""

    def current(self, stack: Stack) -> Stack:
        """The stack, read again."""

    def create_stack(
        self, endpoint_id: int, name: str, content: str, env: Mapping[str, str]
    ) -> Stack:
        """Stores a new stack and starts it."""

    def update_stack(self, stack: Stack, content: str, env: Mapping[str, str]) -> Stack:
        """Replaces file and variables, whole, and starts it."""

    def start_stack(self, stack: Stack) -> Stack:
        """Starts a stopped stack as it is stored."""

    def delete_stack(self, stack: Stack) -> None:
        """Removes the stack and its containers; volumes stay. Already gone counts as done."""

    def wait_deployed(self, stack: Stack, seconds: float, *, poll: float = 1.0) -> Stack:
        """Follows a deployment to its end."""

    def keep_good(self, stack: Stack) -> None:
        """Remembers that the stack, as it is stored, runs and is healthy."""

    def containers(self, endpoint_id: int, project: str) -> tuple[ContainerSummary, ...]:
        """The containers of one compose project, stopped ones too."""

    def container_logs(self, endpoint_id: int, container_id: str, lines: int = 20) -> list[str]:
        """The last lines of a container's log."""

    def restart_container(self, endpoint_id: int, container_id: str) -> None:
        """Restarts one container."""

    def remove_container(self, endpoint_id: int, container_id: str) -> None:
        """Stops and removes one container; its volumes stay."""

    def associate_stack(self, stack: Stack, endpoint_id: int) -> Stack:
        """Gives a stack to another environment, where its containers run; touches none."""

    def hidden_labels(self) -> frozenset[tuple[str, str]]:
        """Labels whose containers are left out of every list."""

    def image_present(self, endpoint_id: int, image: str) -> bool:
        """Whether the host has this image."""

    def pull_image(self, endpoint_id: int, image: str) -> str | None:
        """Pulls an image; Docker's reason when it can't."""
