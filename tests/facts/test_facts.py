"""Every folder of cases beside this file is a fact: its name is the fact's dotted path."""

from pathlib import Path

from pyinfra_testing.facts import make_fact_tests

for _folder in sorted(path for path in Path(__file__).parent.glob("*.*.*") if path.is_dir()):
    _base, _, _fact = _folder.name.partition(".")
    globals()[f"Test_{_folder.name}"] = make_fact_tests(_base, _fact, _folder)
