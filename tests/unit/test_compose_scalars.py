"""Numbers and flags of a compose file reach a container as the text that Compose makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.compose import document
from phoenix.compose.scalars import flag, text_of
from phoenix.declaration.traefik_labels import of_compose
from phoenix.portainer_api.compose import read_services

TEXTS = [  # compose-go 2.16, of `environment: {A: VALUE}`
    ("true", "true"), ("yes", "yes"), ("~", ""), ("1.0", "1"), ("1.50", "1.5"), ("0x10", "16"),
    ("010", "8"), ("0o14", "12"), ("1_000", "1000"), ("+1", "1"), (".5", "0.5"), ("1e3", "1000"),
    ("100000.0", "100000"), ("1000000.0", "1e+06"), ("123456789.0", "1.23456789e+08"),
    ("123456789", "123456789"), ("12345678901234567890", "12345678901234567890"),
    ("0.0001", "0.0001"), ("0.00001", "1e-05"), ("1.5e-7", "1.5e-07"), ("1e40", "1e+40"),
    ("089", "89"), ("-2.5", "-2.5"), ("'1.0'", "1.0"), (".inf", "+Inf"), ("-.inf", "-Inf"),
    (".nan", "NaN"), ("0.0", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "text"), TEXTS)
def test_a_value_as_text(written: str, text: str) -> None:
    assert text_of(document.parse(f"a: {written}")["a"]) == text


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_no_digit_of_a_number_is_lost(value: float) -> None:
    assert float(text_of(value)) == value


@pytest.mark.parametrize("written", ["true", "1.50", "1000000.0", "'yes'"])
def test_labels_are_the_same_text_for_every_reader(written: str) -> None:
    content = f"services: {{web: {{image: 'a:1', labels: {{a: {written}}}}}}}"
    (spec,) = read_services(content, {})
    web = document.read(content)["services"]["web"]
    assert list(of_compose(web)) == [f"a={spec.labels['a']}"]
    assert spec.labels["a"] == dict(TEXTS).get(written, "yes")


@pytest.mark.parametrize(
    ("value", "meaning"),
    [(True, True), ("Yes", True), ("on", True), ("y", True), (False, False), ("OFF", False),
     ("n", False), ("no", False), ("1", None), ("t", None), (1, None), ("", None), (None, None)],
)  # fmt: skip
def test_flags_are_the_words_that_compose_has(value: object, meaning: bool | None) -> None:
    """compose-go, loader/interpolate.go: toBoolean."""
    assert flag(value) is meaning
