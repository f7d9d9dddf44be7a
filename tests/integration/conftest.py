"""One lab and one converged site for all integration tests; a test that breaks it repairs it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import bootstrap, inside, preflight, state
from lab.guests import lab_site
from lab.settings import ROOT, LabError, Settings, from_environment
from phoenix.secrets import record
from tests.integration import fresh, recovery
from tests.integration import project as projects
from tests.integration.fresh import FreshPlan
from tests.integration.project import Project
from tests.integration.site_lab import SiteLab

# Each of xdist's workers has a lab of its own.
NAME = "-".join(
    filter(None, (os.environ.get("PHOENIX_TEST_LAB_NAME") or "it",
                  os.environ.get("PYTEST_XDIST_WORKER")))
)  # fmt: skip
HERE = Path(__file__).parent
DOWN = pytest.StashKey[str]()
"""Why this process's lab is not up, or is broken for good."""
SITE = pytest.StashKey[SiteLab]()
SUSPECT = pytest.StashKey[pytest.Item]()
"""The last test that failed: what it left may fail the tests of other files."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Each test's deadline follows the machine; what fixtures wait for has its own deadlines."""
    for item in session.items:
        if item.path.is_relative_to(HERE):
            deadline = item.get_closest_marker("timeout")
            seconds = (deadline.args[0] if deadline else 300) * projects.deadline_factor()
            item.add_marker(pytest.mark.timeout(seconds, func_only=True), append=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of a lab that did not come up are not run: its first test has failed for all.

    After a failed test the site is repaired before the next file; if the repair fails, the rest is
    not run.
    """
    if not item.path.is_relative_to(HERE):
        return
    stash = item.session.stash
    suspect, site = stash.get(SUSPECT, None), stash.get(SITE, None)
    if suspect and site and suspect.path != item.path:
        del stash[SUSPECT]
        if broken := recovery.put_back(site.project):
            stash[DOWN] = f"{NAME} is broken since {suspect.nodeid}: {broken}"
        else:
            site.root_given()
    if reason := stash.get(DOWN, None):
        pytest.skip(f"not run: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note which test of the lab failed last."""
    report = yield
    if report.failed and item.path.is_relative_to(HERE):
        item.session.stash[SUSPECT] = item
    return report


@contextmanager
def coming_up(session: pytest.Session) -> Iterator[None]:
    """Around what brings up lab and site: note a failure, so that it is told once.

    Raises:
        pytest.skip.Exception: a test of another worker has failed for its lab already.
    """
    try:
        yield
    except pytest.skip.Exception:
        raise
    except (Exception, pytest.fail.Exception) as error:
        reason = f"{NAME}: {str(error).splitlines()[0]}"
        session.stash[DOWN] = reason
        if not first_to_fail(os.environ.get("PYTEST_XDIST_TESTRUNUID")):
            pytest.skip(f"not run, and a test of another lab has failed for it: {reason}")
        raise


def first_to_fail(run: str | None) -> bool:
    """Whether no other of xdist's workers has failed for its lab in this run of the tests."""
    if run is None:
        return True
    try:
        (Path(tempfile.gettempdir()) / f"phoenix-lab-down-{run}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@pytest.fixture(scope="session")
def settings() -> Settings:
    """A lab of the tests' own, so that a person's lab is left alone."""
    return from_environment({"PHOENIX_LAB_NAME": NAME})


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """This machine's environment with the tests' lab in it and without a person's settings.

    Python keeps what it has compiled, as an operator's does: else each of the tests' hundreds of
    runs compiles the whole project anew.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PHOENIX_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    path = f"{Path(sys.prefix) / 'bin'}:{environ.get('PATH', '')}"
    return {**environ, "PATH": path, "PHOENIX_LAB_NAME": NAME}


@pytest.fixture(scope="session")
def lab(
    settings: Settings, environment: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[state.LabState]:
    """The lab is up. One that the tests brought up goes down with them, unless
    PHOENIX_TEST_LAB_KEEP is set."""
    was_up = state.load(settings) is not None
    with coming_up(request.session):
        lab = _bring_up(settings, environment)
    # Hundreds of runs log in: root's manager of systemd is not started and stopped for each.
    for host in lab.hosts:
        container = preflight.connect().containers.get(lab.container(host))
        inside.run(container, "loginctl", "enable-linger", "root")
    yield lab
    if not was_up and not os.environ.get("PHOENIX_TEST_LAB_KEEP"):
        down = [sys.executable, "lab", "down"]
        subprocess.run(down, cwd=ROOT, env=environment, capture_output=True, check=True)


def _bring_up(settings: Settings, environment: dict[str, str]) -> state.LabState:
    try:
        bootstrap.ensure_docker()
        preflight.connect()
    except LabError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run these tests, and there is no Docker Engine: {error}")
        pytest.skip(f"no Docker Engine can be had: {error}")
    up = subprocess.run(
        [sys.executable, "lab", "up"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert up.returncode == 0, f"the lab does not come up:\n{up.stdout}{up.stderr}"
    loaded = state.load(settings)
    assert loaded is not None, f"`lab up` left no state in {settings.directory}"
    return loaded


@pytest.fixture(scope="session")
def project(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project as it is, in a private copy."""
    return projects.copy(tmp_path_factory.mktemp("phoenix") / "project", environment)


@pytest.fixture(scope="session")
def fresh_plan(
    lab: state.LabState, project: Project, request: pytest.FixtureRequest
) -> FreshPlan | None:
    """What `phoenix plan` says of a lab in which nothing was deployed; None if something was."""
    with coming_up(request.session):
        return fresh.plan(preflight.connect(), lab, project)


@pytest.fixture(scope="session")
def site(
    lab: state.LabState,
    settings: Settings,
    project: Project,
    fresh_plan: FreshPlan | None,
    request: pytest.FixtureRequest,
) -> SiteLab:
    """The whole site, converged once by `deploys/all.py`; its root on client and hosts."""
    with coming_up(request.session):
        run = project.run("deploys/all.py")
        assert run.returncode == 0, f"the site does not converge:\n{run.explain()}"
    site = SiteLab(preflight.connect(), settings, lab, lab_site(settings), project)
    site.root_given()
    request.session.stash[SITE] = site
    return site


@pytest.fixture
def variant(site: SiteLab, request: pytest.FixtureRequest) -> Project:
    """A copy of the project for one test to change."""
    return site.project.variant(request.node.name.replace("/", "-"))


@pytest.fixture(scope="module")
def repaired(site: SiteLab) -> Iterator[None]:
    """After the module, a whole run of the unchanged project must succeed: the state is back."""
    yield
    run = site.project.run("deploys/all.py")
    assert run.returncode == 0, f"the site does not converge after the test:\n{run.explain()}"


@pytest.fixture
def former_values_return(site: SiteLab) -> Iterator[None]:
    """After the test the site forgets the planted value, and takes what this machine has."""
    yield
    site.sh("hypervisor", f"rm -f {record.FILE}", ok=True)
