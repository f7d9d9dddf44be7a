from __future__ import annotations

from tests.contract.conftest import fresh, pytest_generate_tests

__all__ = ["fresh", "pytest_generate_tests"]
