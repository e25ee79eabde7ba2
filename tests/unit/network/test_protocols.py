"""The table of protocols: what the API takes of it, the network carries."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import pytest

from pileus.errors import Invalid
from pileus.network import protocols
from pileus.network.northbound.acl import rule_acl
from pileus.network.northbound.base import RuleSpec
from pileus.network.security_group_rules import _check_ports

EVERY = (None, "any", "hopopt", *protocols.NAMES, *(str(number) for number in range(-1, 258)))
RANGES = ((None, None), (1, 1), (0, 0), (5, 80), (None, 7), (7, None), (80, 5), (256, 256), (1, 65535))


@pytest.mark.parametrize("ethertype", ["IPv4", "IPv6"])
def test_every_rule_that_is_taken_can_be_carried(ethertype: str) -> None:
    taken = 0
    for name, (low, high) in itertools.product(EVERY, RANGES):
        values: dict[str, Any] = {"ethertype": ethertype, "port_range_min": low, "port_range_max": high}
        with contextlib.suppress(ValueError, Invalid):
            values["protocol"] = protocols.canonical(name)
            _check_ports(values)
            rule_acl("g", RuleSpec(id="r", direction="ingress", **values))  # raises Unsupplied, which is not suppressed
            taken += 1
    assert taken > 250


@pytest.mark.parametrize(
    ("value", "kept"),
    [(None, None), ("any", None), ("ANY", None), ("TCP", "tcp"), (6, "6"), ("006", "6"), ("0", "0"), ("255", "255")],
)
def test_one_form(value: object, kept: str | None) -> None:
    assert protocols.canonical(value) == kept


@pytest.mark.parametrize(
    "value",
    ["hopopt", "\N{FULLWIDTH DIGIT SIX}", "\N{SUPERSCRIPT TWO}", "\N{LATIN SMALL LETTER LONG S}ctp", "256", "-1", 256,
     "6\n", "1e1", 6.0, True, ["tcp"], {"tcp": 1}, "", "0x6", "9" * 5000],
)  # fmt: skip
def test_what_is_no_protocol(value: object) -> None:
    with pytest.raises(ValueError, match="is no protocol"):
        protocols.canonical(value)


def test_by_name_and_by_number_it_is_the_same() -> None:
    for name in protocols.NAMES:
        found = protocols.find(name)
        if found is not None:
            twin = protocols.find(str(found.number))
            assert twin and (twin.number, twin.match, twin.icmp) == (found.number, found.match, found.icmp)
    assert protocols.find("ip") is protocols.find("0") is protocols.find(None) is None
