"""Readers of addresses: ASCII, without zones, and one form for each address."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.network import literals


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("10.0.0.1", "10.0.0.1"), ("FD00:0::1", "fd00::1"), ("::ffff:10.0.0.9", "::ffff:a00:9"), ("::", "::")],
)
def test_one_form(text: str, canonical: str) -> None:
    assert literals.address(text) == canonical


BAD = (
    "fd00::5%eth0",
    "fd00::5%x\naddr add 1.2.3.4/8 dev lo",
    "fe80::1%",
    "10.0.0.010",
    "0x0a000001",
    "167772161",
    "10.1",
    "",
    " 10.0.0.1",
    "10.0.0.1\n",
    "10.0.0.\N{FULLWIDTH DIGIT ONE}",
    "\N{ARABIC-INDIC DIGIT ONE}.0.0.1",
    "10.0.0.1/32",
    "1::2::3",
    167772161,
    None,
    True,
    ["10.0.0.1"],
)


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_address(value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid IP address"):
        literals.address(value)


@pytest.mark.parametrize(
    "value",
    [
        *(f"{value}/24" for value in BAD if isinstance(value, str) and "/" not in value),
        "10.0.0.0",
        "10.0.0.0/255.255.255.0",
        "10.0.0.0/0.0.0.255",
        "10.0.0.0/024",
        "10.0.0.0/33",
        "10.0.0.0/\N{FULLWIDTH DIGIT TWO}4",
        "10.0.0.0/24/3",
        "fd00::%a b/64",
        "fd00::/64%x",
        "fd00::/129",
        24,
    ],
)
def test_what_is_no_network(value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid IP subnet"):
        literals.block(value)


def test_host_bits_are_cleared() -> None:
    assert literals.prefix("10.1.2.3/8") == "10.0.0.0/8" and literals.prefix("fd00::1/64") == "fd00::/64"


@pytest.mark.parametrize("text", ["fa:16:3e:00:00:01", "FA-16-3E-00-00-01"])
def test_macs(text: str) -> None:
    assert literals.mac(text) == "fa:16:3e:00:00:01"


@pytest.mark.parametrize(
    "value",
    [
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
        "fa:16:3e:00:00",
        "fa:16-3e:00:00:01",
        "fa:16:3e:00:00:0\N{FULLWIDTH DIGIT ONE}",
        "fa:16:3e:00:00:01\n",
        "fa:16:3e:00:00:01 10.0.0.1",
        None,
        ["fa:16:3e:00:00:01"],
    ],
)
def test_what_is_no_interfaces_mac(value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid MAC address"):
        literals.mac(value)


@given(st.ip_addresses())
def test_every_address_is_read_as_it_is_written(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert literals.address(str(address)) == str(address)


@given(st.text(max_size=20))
def test_free_text_never_comes_through(text: str) -> None:
    try:
        read = literals.address(text)
    except ValueError:
        return
    assert read.isascii() and ipaddress.ip_address(read) == ipaddress.ip_address(text)
