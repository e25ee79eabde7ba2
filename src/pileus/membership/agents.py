"""Agents: how one joins, what it may speak for, where it is found."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import delete, select

from pileus import certificates, clock, jointoken
from pileus.agent.commands import HOST_NAME
from pileus.db import Session, utcnow
from pileus.errors import Conflict, Forbidden, Invalid, NotFound
from pileus.jointoken import Admission, Application
from pileus.membership import authority
from pileus.membership.model import Agent, JoinTokenRow

NAME_CHARS = 63
FRESH_S = 300.0
"""How old an application may be, and how far clocks may be apart: who heard it cannot use it later."""
ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
LABELS = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


# --- tokens ---------------------------------------------------------------------------------------------------------


def take_tokens_back(session: Session) -> int:
    """Nobody joins with a token that was issued before; how many there were."""
    return session.change(delete(JoinTokenRow))


def issue_token(session: Session, lasts_s: float) -> str:
    """A new join token; those that have expired are forgotten."""
    session.change(delete(JoinTokenRow).where(JoinTokenRow.expires_at < utcnow()))
    token = jointoken.new()
    session.add(JoinTokenRow(id=token.id, key=token.key, expires_at=utcnow() + timedelta(seconds=lasts_s)))
    return token.text


# --- joining --------------------------------------------------------------------------------------------------------


def join(session: Session, asked: Application, cloud: str, lasts_s: float) -> Admission:
    """Let an agent join; one that joined and did not hear the answer may ask again.

    Args:
        lasts_s: how long its certificate is valid, seconds.

    Raises:
        Forbidden: it has no token that is valid. Invalid. Conflict: its name is another's.
    """
    token = session.get(JoinTokenRow, asked.token)
    if token is None or token.expires_at < utcnow() or not asked.is_sealed_with(token.key):
        raise Forbidden("The join token is not known, or has expired.")
    if abs(apart := asked.at - clock.time()) > FRESH_S:
        raise Forbidden(f"This was said at another time: the machines' clocks are {abs(apart):.0f} s apart.")
    if not is_name(asked.name):
        raise Invalid(f"name: {asked.name!r} is no name of a host.")
    check_address(asked.address)
    try:
        public_key = certificates.requested_key(asked.request.encode())
    except ValueError as error:
        raise Invalid(f"request: {error}") from error
    session.lock("membership")
    _enter(session, asked, public_key.decode())
    own = authority.certify_agent(session, asked.name, public_key, lasts_s).decode()
    answer = Admission(
        cloud=cloud,
        certificate=own,
        authority=authority.certificate(session).decode(),
        southbound=southbound(session),
    )
    return answer.sealed_with(token.key, asked)


def is_name(name: str) -> bool:
    """Whether a host may be called that."""
    return len(name) <= NAME_CHARS and re.fullmatch(HOST_NAME, name) is not None


def check_address(address: str) -> None:
    """Raises Invalid: an agent cannot be found there."""
    found = ADDRESS.fullmatch(address)
    if not found or not 0 < int(found["port"]) < 65536:
        raise Invalid(f"address: {address!r} is not HOST:PORT.")
    if not _is_somebodys(found["host"]):
        raise Invalid(f"address: nobody can be found at {address!r}.")


def _is_somebodys(host: str) -> bool:
    """Whether it is an address that one machine may have, or a host name."""
    last = host.rpartition(".")[2].lower()
    if host.startswith("[") or last.isdecimal() or last.startswith("0x"):  # the resolver takes a number as an address
        try:
            found = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        known = getattr(found, "ipv4_mapped", None) or found
        return not (known.is_unspecified or known.is_multicast)
    return len(host) <= 253 and LABELS.fullmatch(host) is not None


def _enter(session: Session, asked: Application, public_key: str) -> None:
    former = session.get(Agent, asked.name)
    if former is not None and public_key in (former.public_key, former.next_key):
        former.address = asked.address
        return
    if former is not None:
        raise Conflict(
            f"Host {asked.name} has joined already. If that was another life of this machine, `pileus host forget "
            f"{asked.name}` on the control plane lets it join again."
        )
    hosts = f"*.{asked.name}" if asked.simulates else asked.name
    for other in session.scalars(select(Agent)):
        if owns(other.hosts, asked.name) or owns(hosts, other.name) or _overlap(hosts, other.hosts):
            raise Conflict(f"The name {asked.name} is among the hosts of {other.name}.")
    session.add(Agent(name=asked.name, hosts=hosts, address=asked.address, public_key=public_key, created_at=utcnow()))


def owns(pattern: str, host: str) -> bool:
    """Whether a host is among those of an agent: its name; anything before, or a number behind, what the name is but
    for an asterisk."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:]) and len(host) >= len(pattern)
    if pattern.endswith("*"):
        return host.startswith(pattern[:-1]) and host[len(pattern) - 1 :].isdecimal()
    return host == pattern


def _overlap(one: str, other: str) -> bool:
    """Whether a host could be of both patterns, as far as names alone tell."""
    return owns(one, other.replace("*", "1")) or owns(other, one.replace("*", "1"))


# --- those that belong to the cloud -----------------------------------------------------------------------------------


def enter_own(session: Session, name: str, hosts: str, replica_id: str, northbound: str = "") -> None:
    """Note the agent that shares the replica's machine.

    Args:
        northbound: HOST:PORT where other replicas find the northbound database, if OVN's central is here.
    """
    session.lock("membership")
    row = session.get(Agent, name)
    if row is None:
        row = Agent(name=name, address="", public_key="", created_at=utcnow())
        session.add(row)
    row.hosts, row.replica_id, row.northbound = hosts, replica_id, northbound


def note_addresses(session: Session, name: str, address: str, southbound: str) -> None:
    """Note where an agent is found now, and, of one that shares its machine with a replica, where OVN's central is.

    Raises:
        Invalid: nobody is found there.
    """
    if address:
        check_address(address)
        row = session.get(Agent, name)
        if row is not None:
            row.address = address
            if row.replica_id:  # any other could have hosts that join trust it with their networks
                row.southbound = southbound


def note_key(session: Session, name: str, public_key: str) -> None:
    """Note the key that an agent gets its next certificate for, of which it may never hear.

    It asks for a further one only once it has had the last.
    """
    row = session.get(Agent, name)
    if row is not None and public_key not in (row.public_key, row.next_key):
        row.public_key, row.next_key = row.next_key or row.public_key, public_key


def southbound(session: Session) -> str:
    """Where other hosts find OVN's central; "" if there is none."""
    return session.scalar(select(Agent.southbound).where(Agent.southbound != "").limit(1)) or ""


def central(session: Session) -> Agent | None:
    """The agent of the machine where OVN's central is, if the cloud has one; from before its first start on."""
    return session.scalar(select(Agent).where(Agent.northbound != "").limit(1))


def of_host(session: Session, host: str) -> Agent | None:
    """The agent that speaks for a host."""
    rows = session.scalars(select(Agent).where((Agent.hosts == host) | Agent.hosts.contains("*")))
    return next((one for one in rows if owns(one.hosts, host)), None)


def named(session: Session, words: Collection[str]) -> set[str]:
    """Those of some words that are an agent's name, or that of a host of its own."""
    if not words:
        return set()
    there = Agent.name.in_(words) | Agent.hosts.in_(words) | Agent.hosts.contains("*")
    rows = session.execute(select(Agent.name, Agent.hosts).where(there)).all()
    return {word for word in words if any(word == name or owns(hosts, word) for name, hosts in rows)}


def keys_of_host(session: Session, host: str) -> tuple[str, ...]:
    """The public keys (PEM) of which the certificate of a host's agent has one; none while that has had none."""
    found = of_host(session, host)
    return found.keys if found else ()


def forget(session: Session, name: str) -> None:
    """Let an agent not belong to the cloud any more; raises NotFound."""
    if not session.change(delete(Agent).where(Agent.name == name)):
        raise NotFound(f"There is no agent {name}.")
