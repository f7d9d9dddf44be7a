"""Every folder of cases beside this file is an operation: its name is the dotted path."""

from pathlib import Path

from pyinfra_testing.operations import make_operation_tests

for _folder in sorted(path for path in Path(__file__).parent.glob("*.*.*") if path.is_dir()):
    _base, _, _operation = _folder.name.partition(".")
    globals()[f"Test_{_folder.name}"] = make_operation_tests(_base, _operation, _folder)
