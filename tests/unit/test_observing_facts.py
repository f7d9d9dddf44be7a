"""What the facts of `phoenix status` make of output that nobody expects."""

from __future__ import annotations

import pytest
from pyinfra.api.exceptions import FactProcessError

from facts.containers import ComposeProjects
from facts.renewal import parse


@pytest.mark.parametrize(
    "output",
    [
        ["Failed to connect to bus: No such file or directory"],
        ["Id=cron.timer", "Result=success"],
        ["Id=phoenix-acme@gateway.timer", "NextElapseUSecRealtime=tomorrow UTC"],
    ],
)
def test_junk_of_systemctl_is_told(output: list[str]) -> None:
    with pytest.raises(FactProcessError, match="unexpected"):
        parse(output)


def test_junk_of_docker_is_told() -> None:
    with pytest.raises(FactProcessError, match=r"unexpected answer of docker: 'oops'"):
        ComposeProjects().parse(["oops"])
