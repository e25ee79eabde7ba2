"""Join tokens: what is said is sealed, both ways."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pileus import jointoken
from pileus.jointoken import Admission, Application

SAID = Application(token="t", name="n", simulates=False, address="h:1", request="r", at=7)
ANSWER = Admission(cloud="c", certificate="x", authority="a")


def test_a_token_is_read_as_it_was_shown() -> None:
    token = jointoken.new()
    assert jointoken.parse(f" {token.text}\n") == token != jointoken.new()
    assert token.secret not in token.key, "what the cloud keeps is not what is shown"


@pytest.mark.parametrize("text", ["", "abc", ".secret", "id."])
def test_other_texts_are_no_tokens(text: str) -> None:
    with pytest.raises(ValueError, match="join-token"):
        jointoken.parse(text)


@pytest.mark.parametrize(
    "changed", [{name: "?"} for name in ("token", "name", "address", "request")] + [{"simulates": True}]
)
def test_nobody_changes_what_is_asked(changed: dict[str, object]) -> None:
    key = jointoken.new().key
    sealed = SAID.sealed_with(key)
    assert sealed.is_sealed_with(key)
    assert not replace(sealed, **changed).is_sealed_with(key)
    assert not sealed.is_sealed_with(jointoken.new().key) and not SAID.is_sealed_with(key)


@pytest.mark.parametrize("name", ["cloud", "certificate", "authority"])
def test_nobody_changes_what_is_answered(name: str) -> None:
    key = jointoken.new().key
    sealed = ANSWER.sealed_with(key, SAID)
    assert sealed.is_sealed_with(key, SAID)
    assert not replace(sealed, **{name: "?"}).is_sealed_with(key, SAID)
    assert not sealed.is_sealed_with(key, replace(SAID, request="another")), "it is the answer to one request"
