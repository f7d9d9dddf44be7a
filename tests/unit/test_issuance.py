from __future__ import annotations

import pytest
from pydantic import SecretStr

from phoenix.components.step_ca.issuance import leaf_template, proof
from phoenix.secrets import catalog
from phoenix.secrets.errors import SecretError
from phoenix.site.secret_names import ISSUANCE_KEY

KEY = SecretStr("k" * 32)


def shown(*names: str, key: SecretStr = KEY) -> str:
    return proof(key, names).get_secret_value()


def test_proof_is_of_these_names_by_this_key() -> None:
    assert shown("a.test", "b.test") == shown("b.test", "a.test")
    others = [shown("a.test"), shown("b.test"), shown("a.test", "c.test"),
              shown("a.test", "b.test", key=SecretStr("l" * 32))]  # fmt: skip
    assert len({*others, shown("a.test", "b.test")}) == 5


def test_template_holds_the_key_and_nothing_to_fill() -> None:
    template = leaf_template(KEY)
    assert f'$key := "{KEY.get_secret_value()}"' in template
    assert "@" not in template


@pytest.mark.parametrize("key", ["short", "k" * 31, "k" * 32 + '"', "k" * 32 + "\n", "}}" * 20])
def test_key_that_could_be_guessed_or_ends_the_template_is_refused(key: str) -> None:
    with pytest.raises(SecretError, match="not of 32 or more") as refused:
        leaf_template(SecretStr(key))
    assert key not in str(refused.value)


def test_generated_key_can_be_used() -> None:
    leaf_template(SecretStr(catalog.generator(ISSUANCE_KEY)()))
