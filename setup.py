"""What pyproject.toml cannot say: a wheel holds the deploys and the example site as well.

They lie beside phoenix/ in a checkout, where plain pyinfra finds them. In a wheel they lie inside
it, as phoenix/project/: names such as `deploys` and `operations` are too common for site-packages.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROJECT = ("config.py", "deploys", "facts", "inventories/directory.py",
           "operations")  # fmt: skip
EXAMPLE = ("group_data/all.py", "inventories/phoenix.py", "inventories/phoenix_lxc_configs.json",
           "inventories/phoenix_vm_configs.json", "inventories/schema", "stacks")  # fmt: skip
COPIES = ((".", PROJECT), ("example", EXAMPLE))


class BuildPy(build_py):
    """build_py, and the project's folders beside phoenix/."""

    def run(self) -> None:
        """Build anew: a module that was deleted since the last build stays out of the wheel."""
        if self.editable_mode:  # the checkout itself is the project
            super().run()
            return
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        for folder, names in COPIES:
            for name in names:
                source = Path(__file__).parent / name
                target = Path(self.build_lib, "phoenix", "project", folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
                    shutil.copytree(source, target, ignore=ignored)
                else:
                    shutil.copy2(source, target)


setup(cmdclass={"build_py": BuildPy})
