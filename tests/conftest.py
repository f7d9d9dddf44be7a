"""What holds for all tests."""

import gc
import re
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import settings
from xdist.remote import Producer  # type: ignore[import-untyped]

from phoenix.secrets import client_certificate
from tests import examples, progress, scheduling

# What is imported and collected stays to the end: the garbage collector need not look through it
# again and again. It begins with the first test (`pytest_runtestloop`).
gc.disable()

# pyinfra's command line makes greenlets of all threads when it is imported, for the whole process
# and for good; servers that tests run in threads would stand still. Nothing here needs that.
with patch("gevent.monkey.patch_all"):
    import pyinfra_cli  # noqa: F401

# cryptography keeps the class `datetime` that it meets first; pyinfra-testing stands another in.
client_certificate.generate()

_DEADLINE = re.compile(r"DeadlineError: (.+)|Failed: (Timeout \(.+)")
# No test times anything: a busy machine makes no example wrong.
settings.register_profile("untimed", deadline=None, max_examples=examples.WHOLE)
settings.register_profile("fast", settings.get_profile("untimed"), max_examples=examples.FAST)
settings.load_profile("untimed")  # `--hypothesis-profile=fast` is for the fast lane

_DIFFERS_BY_PROCESS = re.compile(r"set\(\{| at 0x[0-9a-f]+")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names made of a set or an address: pytest-xdist's workers would not agree on them.

    Only now and then would they differ (by PYTHONHASHSEED), and then nothing runs at all.
    Files then come in the order of `tests/scheduling.py`.
    """
    examples.mark_long_cases(items)
    unstable = [item.nodeid for item in items if _DIFFERS_BY_PROCESS.search(item.nodeid)]
    if unstable:
        raise pytest.UsageError("give these tests `ids`:\n" + "\n".join(unstable))
    items[:] = scheduling.ordered(items, lambda item: item.path)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """From here on garbage is collected, of what tests make alone."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Producer
) -> scheduling.LabScheduling | None:
    """Files of the lab go to the workers that have one; another `--dist` is pytest-xdist's own.

    Progress is told file by file then.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    if config.get_verbosity() <= 0:
        terminal = config.pluginmanager.getplugin("terminalreporter")
        config.pluginmanager.register(progress.Progress(terminal))
    return scheduling.LabScheduling(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Below all else: which deadlines were met, and what failed first.

    A busy machine is no fault of the code; and a test that leaves a lab broken makes others fail.
    """
    yield
    failed = sorted(
        (
            report
            for kind in ("error", "failed")
            for report in terminalreporter.stats.get(kind, ())
            if isinstance(report, pytest.TestReport)
        ),
        key=lambda report: report.stop,
    )
    deadlines = [
        f"{report.nodeid}: {deadline[1] or deadline[2]}"
        for report in failed
        if (deadline := _DEADLINE.search(str(report.longrepr)))
    ]
    if deadlines:
        terminalreporter.section("deadlines that passed")
        for line in dict.fromkeys(deadlines):
            terminalreporter.write_line(line)
    if failed:
        terminalreporter.section("what failed first")
        for report in failed[:3]:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = " ".join(str(getattr(crash, "message", report.longrepr)).split())
            terminalreporter.write_line(f"{report.nodeid} ({report.when}): {message[:1500]}")
