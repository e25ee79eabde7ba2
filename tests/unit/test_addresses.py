"""Where the parts of a cloud say that they are found."""

from __future__ import annotations

import ipaddress

import pytest

from pileus.addresses import host_port, reached_at


def test_an_address_of_ipv6_is_told_from_its_port() -> None:
    assert (host_port("10.0.0.7", 7), host_port("fd00::1", 7)) == ("10.0.0.7:7", "[fd00::1]:7")


@pytest.mark.parametrize("listened", ["127.0.0.1", "10.0.0.7", "fd00::1", "host.example"])
def test_it_is_found_where_it_listens(listened: str) -> None:
    assert reached_at(listened) == listened


@pytest.mark.parametrize("listened", ["0.0.0.0", "::"])
def test_it_is_not_found_everywhere(listened: str) -> None:
    assert not ipaddress.ip_address(reached_at(listened)).is_unspecified
