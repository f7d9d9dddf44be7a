"""A deploy reads settings through the model: wrong ones end it, unknown ones are warned of."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploys import context
from tests.deploys.recorder import run


def test_wrong_type_ends_the_run_with_file_setting_and_fix(tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        run("dns", tmp_path / "secrets.json", timezone=5, dns_stop_rebind="no")
    output = f"{caught.value.args} {vars(caught.value)}"
    assert "group_data/all.py: timezone: is 5" in output
    assert "write text" in output
    assert "dns_stop_rebind" in output
    assert "write True or False" in output


def test_unknown_setting_is_warned_of_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context._warn_unknown.cache_clear()
    run("dns", tmp_path / "secrets.json", treafik_dashboard_user="me")
    output = capsys.readouterr().err
    warning = (
        "warning: group_data/all.py: treafik_dashboard_user: no code reads this setting\n"
        "    fix: did you mean 'traefik_dashboard_user'?"
    )
    assert output.count(warning) == 1, output
