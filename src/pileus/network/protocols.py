"""Which protocols security group rules may name, and how OVN matches them: one table for the API and the network.

Names: api-ref network, Security group rules; numbers: IANA, Assigned Internet Protocol Numbers; matches: ovn-sb(5),
Logical_Flow. What is not here is refused when a rule is made, since a rule that cannot be carried would stand there
without effect.
"""

from __future__ import annotations

import re

import msgspec

_NUMBER = re.compile(r"0*([0-9]{1,3})", re.ASCII)


class Protocol(msgspec.Struct, frozen=True):
    """One protocol.

    Attributes:
        match: how OVN says it where its ports can be matched, too; empty: by number alone.
        icmp: its port range is a type and a code.
        version: the only IP version that has it.
    """

    number: int
    match: str = ""
    icmp: bool = False
    version: int | None = None


ANY = ("any", "ip", "0")
"""What means every protocol. `hopopt` has number 0 as well, but no packet that OVN sees as such: it is refused."""
_NAMED = {
    "ah": Protocol(51), "dccp": Protocol(33), "egp": Protocol(8), "esp": Protocol(50), "gre": Protocol(47),
    "icmp": Protocol(1, icmp=True), "icmpv6": Protocol(58, icmp=True, version=6), "igmp": Protocol(2),
    "ipip": Protocol(4), "ipv6-encap": Protocol(41, version=6), "ipv6-frag": Protocol(44, version=6),
    "ipv6-icmp": Protocol(58, icmp=True, version=6), "ipv6-nonxt": Protocol(59, version=6),
    "ipv6-opts": Protocol(60, version=6), "ipv6-route": Protocol(43, version=6), "ospf": Protocol(89),
    "pgm": Protocol(113), "rsvp": Protocol(46), "sctp": Protocol(132, "sctp"), "tcp": Protocol(6, "tcp"),
    "udp": Protocol(17, "udp"), "udplite": Protocol(136), "vrrp": Protocol(112),
}  # fmt: skip
_NUMBERED = {protocol.number: protocol for protocol in _NAMED.values()}
NAMES = tuple(sorted([*_NAMED, "ip"]))


def canonical(value: object) -> str | None:
    """A protocol as rules keep it: its name in lower case, or its number as short as can be; None is any.

    Raises:
        ValueError: there is none of the name, or none that OVN can match.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"'{value}' is no protocol")
    word = str(value).lower()
    if word == "any":
        return None
    if word in NAMES:
        return word
    if (digits := _NUMBER.fullmatch(word)) and int(digits[1]) <= 255:
        return str(int(digits[1]))
    raise ValueError(f"'{value}' is no protocol")


def find(word: str | None) -> Protocol | None:
    """The protocol of a rule; None is any.

    Raises:
        ValueError: there is none of the name.
    """
    word = canonical(word)
    if word is None or word in ANY:
        return None
    if word in _NAMED:
        return _NAMED[word]
    return _NUMBERED.get(int(word)) or Protocol(int(word))
