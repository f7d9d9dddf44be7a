"""README and docs/ say what is true: links, verbs, settings, messages, packages."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pyinfra.connectors.sshuserclient import client as pyinfra_ssh_client
from typer.main import get_command

from phoenix.cli.app import app
from phoenix.cli.commands import VERBS
from phoenix.declaration.settings import ProxmoxSettings, Settings
from phoenix.secrets import catalog
from phoenix.site.model import LeftAlone
from tests.unit.site_builder import minimal

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/README.md"])
TROUBLE = ROOT / "docs/troubleshooting.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"", page.read_text())
    for link in (first or second for first, second in links):
        if not link.startswith(("http://", "https://")):
            assert (page.parent / link).exists(), link


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them (GitHub's rule)."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_into_a_page_meet_a_heading(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        assert anchor in anchors(page.parent / link if link else page), f"{link}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_verbs_exist(page: Path) -> None:
    group = get_command(app)
    existing = set(group.list_commands(None))  # type: ignore[attr-defined]
    for verb in re.findall(r"(?:^|`|\$ )phoenix ([a-z]+)\b", page.read_text(), re.M):
        assert verb in existing, verb


def refused(words: list[str]) -> str:
    """The word of a command of ours that it does not take; empty where it takes all."""
    command: Any = get_command(app)
    for position, word in enumerate(words):
        if word == "--":
            break
        option = word.partition("=")[0]
        if option.startswith("-"):
            options = {
                name
                for parameter in command.params
                for name in (*parameter.opts, *parameter.secondary_opts)
            }
            if option not in options | {"--help", "-h"}:
                return f"{word} of phoenix {' '.join(words[:position])}"
        elif verbs := getattr(command, "commands", None):
            subcommand = verbs.get(word)
            if subcommand is None:
                # A group with a meaning of its own, as `backup` and `restore`, has arguments too.
                return "" if command.invoke_without_command else f"{word} of {words}"
            command = subcommand
    return ""


@pytest.mark.parametrize("page", [*PAGES, "help"], ids=lambda page: getattr(page, "name", page))
def test_commands_of_pages_and_examples_are_taken_word_for_word(page: Path | str) -> None:
    texts = [page.read_text()] if isinstance(page, Path) else examples(get_command(app))
    lines = []
    for text in texts:
        joined = re.sub(r"\\\n\s+", "", text)  # one command on several lines
        lines += re.findall(r"^ *(?:\$ )?phoenix ([a-z].*?)(?:\s{2,}.*|\s+#.*)?$", joined, re.M)
        lines += re.findall(r"`phoenix ([a-z][^`\n]*)`", joined) if isinstance(page, Path) else []
    faults = []
    for line in lines:
        if isinstance(page, Path) or line.partition(" ")[0] in VERBS:
            words = re.sub(r"[\[\]|()]", " ", line.partition(" && ")[0]).split()
            faults += [fault] if (fault := refused(words)) else []
    assert faults == []
    assert lines or page not in ("help", ROOT / "README.md")


def examples(command: Any) -> list[str]:
    """The texts of help, of a command and of all below it."""
    below = getattr(command, "commands", {}).values()
    return [command.help or "", *(text for inner in below for text in examples(inner))]


CODE = ("benchmarks", "deploys", "docs", "facts", "lab", "operations", "phoenix",
        "portainer_emulator", "tests")  # fmt: skip
"""Folders whose files pages name; the others have files of a site, which its owner writes."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_files_of_the_project_that_pages_name_exist(page: Path) -> None:
    text = page.read_text()
    named = re.findall(rf"(?<![\w/.~-])((?:{'|'.join(CODE)})/[\w./-]*\w)(?![\w*])", text)
    for path in named:
        if re.search(r"[A-Z]{3}|node_exporter", path):  # a placeholder; what a reader writes there
            continue
        assert any((folder / path).exists() for folder in (ROOT, ROOT / "tests")), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_variables_and_options_that_pages_name_are_read(page: Path) -> None:
    text = page.read_text()
    source = "\n".join(
        path.read_text(errors="ignore")
        for folder in CODE
        if folder != "docs"
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and path.suffix in {".py", ".sh", ".j2", ""}
        and path.name != "test_docs.py"
    )
    named = set(re.findall(r"\b(PHOENIX_[A-Z_]*[A-Z])\b", text))
    named -= {name for name in named if name.startswith("PHOENIX_SECRET_")}  # of the site's own
    named |= set(re.findall(r"`(--[a-z][a-z-]+)", text)) - {"--durations"}  # pytest's
    for name in sorted(named):
        assert name in source, name


def test_the_table_of_changes_names_real_settings() -> None:
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## What it changes") : text.index("## Try it")]
    names = set(re.findall(r"`([a-z]+_[a-z_]+)`", table)) | {"timezone"}
    settings = Settings.model_fields.keys() | {
        f"proxmox_{name}" for name in ProxmoxSettings.model_fields
    }
    words = set(get_args(LeftAlone))
    assert names <= settings | words | {"leave_alone"}, names - settings
    rows = set(re.findall(r"`leave_alone`: `(\w+)`", table))
    assert rows == words, "each thing that is on by default says how it is left alone"
    assert len(names) >= 10


def test_the_table_of_secrets_has_each_one_of_the_platform() -> None:
    text = (ROOT / "docs" / "secrets.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    assert listed == {use.name for use in catalog.PLATFORM}


def test_the_page_of_verbs_has_each_verb() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    listed = re.findall(r"^\| [^|]+ \| `([a-z]+)` \|", text, re.M)
    assert listed == list(VERBS)


def printed() -> str:
    """Every text of the program's own source, in one."""
    texts = [
        path.read_text()
        for folder in ("phoenix", "operations", "deploys", "facts")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in {".sh", ".j2", ""}
    ]
    sources = [Path(str(pyinfra_ssh_client.__file__))]  # operators see its words
    for folder in ("phoenix", "operations", "deploys", "facts"):
        sources += (ROOT / folder).rglob("*.py")
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "\0"
                        for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_messages_in_the_table_are_printed() -> None:
    quoted = re.findall(r"^\| `([^`]+)` \|", TROUBLE.read_text(), re.M)
    assert len(quoted) >= 8
    source = printed()
    for message in quoted:
        for piece in re.split(r"\s*\.\.\.\s*|/etc/step-ca|\.\.\./", message):
            assert piece.strip(" :/") in source, piece


def test_every_package_is_in_the_picture() -> None:
    picture = (ROOT / "docs/packages.svg").read_text()
    packages_shown = set(re.findall(r'font-size="15" font-weight="bold"[^>]*>([\w.]+)<', picture))
    packages = {path.parent.name for path in (ROOT / "phoenix").glob("*/__init__.py")}
    assert packages_shown - packages == {"files.py"}
    assert packages_shown >= packages
    page = (ROOT / "docs/architecture.md").read_text()
    for path in (ROOT / "phoenix").glob("*.py"):
        assert path.name[0] == "_" or f"`{path.name}`" in page, path.name


LOOKED_FOR = {
    "phoenix/site/removed_headers.py": "REMOVED",
    "phoenix/components/nginx/nginx.conf.j2": "ssl_protocols ",
    "phoenix/health/checks.py": "def checks(",
    "phoenix/health/advice.py": "phoenix sync",
    "phoenix/declaration/json_keys.py": "class RawGuest",
    "phoenix/declaration/json_errors.py": '"unknown key: nothing reads it"',
    "phoenix/derived/firewall.py": "def flows(",
    "phoenix/derived/dns.py": "def records(",
    "phoenix/components/acme/phoenix_acme_conf.py": "RENEW_FRACTION = ",
    "phoenix/components/stack.py": "variables",
    "phoenix/cli/commands.py": "VERBS: ",
    "phoenix/cli/reports/status.py": "def print_status(",
    "phoenix/cli/reports/plan.py": "class Plan(",
    "phoenix/watch/judge.py": "def messages_of(",
    "phoenix/health/undeclared.py": "def undeclared(",
}
"""What a person meets in the file that CONTRIBUTING names for a task."""


def test_each_folder_is_on_the_page_of_the_layout() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    for path in ROOT.iterdir():
        if (path / "__init__.py").is_file() or path.name in {"inventories", "stacks", "lab"}:
            assert f"`{path.name}/`" in page, path.name


def test_each_task_names_one_file_that_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text[text.index("## Where is it?") : text.index("## Releases")]
    rows = re.findall(r"^\| ([A-Z][^|]+) \| (.+) \|$", section, re.M)
    assert len(rows) == len(LOOKED_FOR) == 15
    for task, cell in rows:
        (path,) = re.findall(r"`([^`]+)`", cell)
        assert LOOKED_FOR[path] in (ROOT / path).read_text(), f"{task}: {path}"


def test_the_application_with_tls_of_its_own_is_a_stack_without_a_warning(tmp_path: Path) -> None:
    declared = minimal()
    page = (ROOT / "docs/services.md").read_text()
    compose = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    route = {"name": "shop", "port": 8443, "scheme": "https"}
    services = {"web": {"traefik_service": route}}
    (line,) = [line for line in page.splitlines() if line.startswith('"tls": ')]
    environment = {"services": services, **json.loads(f"{{{line}}}")}
    declared.stacks["shop"] = ({"environments": {"production": environment}}, compose)
    assert declared.load(tmp_path).warnings == ()
    assert compose["services"]["web"]["user"] == "1000:1000"
    assert environment["tls"]["uid"] == 1000, "who runs it reads the key"


def test_the_threat_model_names_tests_that_exist() -> None:
    named = re.findall(
        r"`((?:unit|integration|deploys)/test_\w+\.py)(?:::(\w+))?`",
        (ROOT / "docs/security.md").read_text(),
    )
    assert len(named) > 50
    assert {file.partition("/")[0] for file, _ in named} == {"unit", "integration", "deploys"}
    for file, test in named:
        text = (ROOT / "tests" / file).read_text()
        assert not test or f"def {test}(" in text, (file, test)
