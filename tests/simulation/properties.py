"""What must hold after every storm, whatever failed in it, over our rows, the hosts and the network's database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import func, select

from pileus.agent.commands import DiscardGuest, PowerState
from pileus.agent.storage import moved
from pileus.compute.migration_model import OPEN, Migration
from pileus.compute.model import Host, Server, UnknownGuest
from pileus.db import Database, Session
from pileus.network.model import METADATA_OWNER, Port
from pileus.network.northbound.fake import FakeNorthbound
from pileus.network.wiring import wire
from pileus.operations.model import DebtRow, OperationRow, StepRow, SubjectRow
from pileus.operations.notifications import Notification
from pileus.placement.model import Allocation, Consumer
from tests.simulation.agents import SimulatedAgent
from tests.simulation.guests import Guest, Storage, content
from tests.unit import uses

Stashes = dict[tuple[str, str], int | None]
"""What is set aside, by host and server: the incarnation."""
GuestsByServer = dict[str, list[tuple[str, Guest]]]


POWER = {
    "active": PowerState.RUNNING,
    "paused": PowerState.PAUSED,
    "stopped": PowerState.SHUTDOWN,
    "suspended": PowerState.SHUTDOWN,
}
"""The power state of a server's guest, once all is quiet."""
SHELVED, OFFLOADED = "shelved", "shelved_offloaded"
TOLD = {
    "instance.create.end": ("server.boot",),
    "instance.resize_finish.end": ("server.resize", "server.migrate"),
    "instance.resize_confirm.end": ("server.confirmResize",),
    "instance.resize_revert.end": ("server.revertResize",),
    "instance.live_migration_post_dest.end": ("server.live-migration",),
    "instance.unshelve.end": ("server.unshelve",),
}
"""What is told of operations that succeed, and of no others, with their kinds."""
BEGUN, UNDONE = "instance.live_migration_rollback.start", "instance.live_migration_rollback.end"


def check(
    db: Database,
    agents: Sequence[SimulatedAgent],
    storage: Storage,
    northbound: FakeNorthbound,
    accepted: set[str],
) -> None:
    """Raises AssertionError naming the property that does not hold."""
    guests: GuestsByServer = {}
    stashes: Stashes = {}
    for agent in agents:
        for host in agent.hypervisor.hosts:
            stashes |= {(host, id): moved.noted(aside) for id, aside in storage.aside(host).items()}
        for (host, server_id), guest in agent.hypervisor.guests.items():
            guests.setdefault(server_id, []).append((host, guest))
    with db.read() as session:
        _everything_ended(session)
        servers = {server.id: server for server in session.scalars(select(Server))}
        moves = session.scalars(select(Migration).where(Migration.status.in_(OPEN))).all()
        reverting = {move.server_id for move in moves if move.status == "reverting"}
        assert accepted <= servers.keys(), "an accepted server is not there"
        assert guests.keys() <= servers.keys(), "a guest belongs to no server"
        for agent in agents:
            _files(agent, storage, {(server.host, server.id) for server in servers.values()})
        for server in servers.values():
            _server_and_guest(server, guests.get(server.id, []), reverting=server.id in reverting)
        _moves(servers, moves, stashes, _half_deleted(session))
        _resources(session, servers, moves)
        _ports(session, servers, guests, northbound)
        _rebuilt(session, guests)
        _told_once(session)
    uses.compare(db)


def _files(agent: SimulatedAgent, storage: Storage, servers: set[tuple[str | None, str]]) -> None:
    """Each guest has its disk, and nobody else has it; nothing is left of others, and nobody is waited for.

    Args:
        servers: with the hosts that they are on.
    """
    hypervisor = agent.hypervisor
    assert not hypervisor.awaited, f"guests that are awaited for ever: {hypervisor.awaited}"
    for host in hypervisor.hosts:
        left = {id for id in storage.on(host).known() if (host, id) not in servers} - storage.aside(host).keys()
        assert not left, f"files are left on {host}: {left}"
    for (host, server_id), guest in hypervisor.guests.items():
        files = storage.on(host).guest(server_id)
        if guest.defined:
            assert files.root.exists(), f"the disk of {server_id} on {host} was removed"
            assert content(files) == guest.disk, f"{server_id} on {host} has another disk than it was defined with"
            assert not files.anothers, f"the disk of {server_id} on {host} belongs to {files.holder}"


def one_copy(db: Database, agents: Iterable[SimulatedAgent]) -> None:
    """At any moment: of a server that nothing is under way on, one guest runs, but for those of dead hosts that were
    evacuated. One that may run and is condemned is known to, and no other is run meanwhile."""
    running: dict[str, set[str]] = {}
    for agent in agents:
        for (host, server_id), guest in agent.hypervisor.guests.items():
            if guest.power_state == PowerState.RUNNING:
                running.setdefault(server_id, set()).add(host)
    several = {server_id: hosts for server_id, hosts in running.items() if len(hosts) > 1}
    if not several:
        return
    with db.read() as session:
        busy = set(session.scalars(select(SubjectRow.subject_id)))
        condemned = {
            (row.subject_id, row.host)
            for row in session.scalars(select(DebtRow).where(DebtRow.name == DiscardGuest.words()))
            if not row.arguments.get("may_run")
        }
    for server_id, hosts in several.items():
        left = {host for host in hosts if (server_id, host) not in condemned}
        assert server_id in busy or len(left) <= 1, f"server {server_id} runs on {left}"


def _everything_ended(session: Session) -> None:
    live = [
        (row.kind, row.state) for row in session.scalars(select(OperationRow).where(OperationRow.finished_at.is_(None)))
    ]
    assert not live, f"operations never ended: {live}"
    states = set(session.scalars(select(OperationRow.state).distinct()))
    assert states <= {"succeeded", "failed", "cancelled"}, states
    assert not session.scalar(select(func.count()).select_from(SubjectRow)), "an ended operation has a subject"
    debts = [(row.name, row.host, row.error) for row in session.scalars(select(DebtRow))]
    assert not debts, f"debts that are not paid: {debts}"
    unknown = [(row.host, row.server_id) for row in session.scalars(select(UnknownGuest))]
    assert not unknown, f"guests that nobody accounts for: {unknown}"
    defects = [row.error for row in session.scalars(select(OperationRow)) if row.error and "defect" in row.error]
    assert not defects, defects
    internal = [row.name for row in session.scalars(select(StepRow)) if row.error and row.error["code"] == "internal"]
    assert not internal, f"steps that hit a defect: {internal}"


def _server_and_guest(server: Server, guests: list[tuple[str, Guest]], reverting: bool) -> None:
    """The guest is where its server is, and as that shows; one whose reverting failed may be half restored."""
    where = [host for host, _ in guests]
    assert len(guests) <= 1, f"{server.vm_state} server {server.id} has guests on {where}"
    if server.deleted_at is not None:
        assert not guests, f"a deleted server has a guest on {where}"
        assert server.host is None and server.admin_pass is None
        return
    stuck = f"server {server.id} is stuck in {server.vm_state}"
    assert server.vm_state in {*POWER, "resized", "error", SHELVED, OFFLOADED}, stuck
    assert server.shelved_image_id or server.vm_state not in (SHELVED, OFFLOADED), "it has nothing to come back from"
    assert server.shelved_at or server.vm_state != SHELVED, "it would stay on its host for ever"
    if server.host is None:
        assert server.vm_state in ("error", OFFLOADED), f"{server.vm_state} server {server.id} is on no host"
        assert not guests, f"a server on no host has a guest on {where}"
        return
    if server.vm_state == "error" or reverting:
        return
    assert where == [server.host], f"server {server.id} is on {server.host}, its guest on {where}"
    guest = guests[0][1]
    assert guest.incarnation == server.incarnation, "the guest is of another incarnation"
    assert guest.defined and guest.coming != "some", "the guest is half made"
    assert guest.power_state == server.power_state, f"power state {server.power_state}, really {guest.power_state}"
    if server.vm_state not in (SHELVED, "resized"):  # one that is run by hand stays shelved
        assert guest.power_state == POWER[server.vm_state], f"{server.vm_state}, really {guest.power_state}"


def _half_deleted(session: Session) -> set[str]:
    """The servers in error whose owner is to delete them again."""
    query = (
        select(Server.id)
        .join(OperationRow, OperationRow.subject_id == Server.id)
        .where(Server.vm_state == "error", OperationRow.kind == "server.delete", OperationRow.state == "failed")
    )
    return set(session.scalars(query))


def _moves(servers: dict[str, Server], moves: Sequence[Migration], stashes: Stashes, half_deleted: set[str]) -> None:
    """What is set aside is what moves may still be reverted to."""
    moves = [move for move in moves if move.server_id not in half_deleted]
    stashes = {key: one for key, one in stashes.items() if key[1] not in half_deleted}
    states = {move.server_id: servers[move.server_id].vm_state for move in moves}
    assert set(states.values()) <= {"resized"}, f"moves that nothing comes of: {states}"
    assert {server_id for server_id, one in servers.items() if one.vm_state == "resized"} == states.keys()
    kept = {(move.source_host, move.server_id): move.source_incarnation for move in moves if move.status == "finished"}
    tried = {(move.source_host, move.server_id) for move in moves if move.status != "finished"}
    assert {key: one for key, one in stashes.items() if key not in tried} == kept, f"set aside: {stashes}, moves {kept}"


def _resources(session: Session, servers: dict[str, Server], moves: Sequence[Migration]) -> None:
    providers = {host.provider_id: host.name for host in session.scalars(select(Host))}
    held: dict[str, set[str]] = {}
    for row in session.scalars(select(Allocation)):
        held.setdefault(row.consumer_id, set()).add(providers[row.provider_id])
    placed = {server.id: {server.host} for server in servers.values() if server.host and server.deleted_at is None}
    placed |= {move.uuid: {move.source_host} for move in moves if move.server_id not in _back(servers, moves)}
    assert held == placed, f"allocations {held}, servers {placed}"
    assert set(session.scalars(select(Consumer.id))) == placed.keys(), "a consumer without a server"


def _back(servers: dict[str, Server], moves: Sequence[Migration]) -> set[str]:
    """The servers that are on their sources again, though their guests are not."""
    return {one.server_id for one in moves if servers[one.server_id].incarnation != one.incarnations.dest}


def _ports(session: Session, servers: dict[str, Server], guests: GuestsByServer, northbound: FakeNorthbound) -> None:
    ports = {port.id: port for port in session.scalars(select(Port)) if port.device_owner != METADATA_OWNER}
    held: dict[str, set[str]] = {}
    moved = select(Migration.server_id).where(Migration.status.in_(("finished", "confirming")))
    resized = set(session.scalars(moved))
    assert not any(port.next_host for port in ports.values()), "a port is expected where its server does not come"
    for port in ports.values():
        if port.server_id is None:
            loose = (port.created_by_compute, port.host, port.device_id, port.device_owner, port.status)
            assert loose == (False, "", "", "", "DOWN"), f"a port of no server is half a server's: {loose}"
            continue
        held.setdefault(port.server_id, set()).add(port.id)
        server = servers[port.server_id]
        assert port.host == (server.host or ""), f"a port is bound to {port.host}, its server {server.host}"
        assert port.device_id == server.id and server.deleted_at is None
    for server in servers.values():
        if server.vm_state in POWER or server.id in resized:
            (_, guest), mine = guests[server.id][0], held.get(server.id, set())
            assert set(guest.ports) == mine, f"{server.vm_state} server {server.id} has {mine}, its guest {guest.ports}"
    wired = {id: spec.host for id, spec in northbound.ports.items() if spec.device_owner != METADATA_OWNER}
    bound = {port.id: port.host for port in ports.values() if port.host}
    assert wired == bound, f"the network's database has {wired}, bound are {bound}"
    for wiring in wire(session, list(bound)):
        assert _as_of(northbound.ports[wiring.port.id]) == _as_of(wiring.port), "an older state of a port is wired"
        assert _as_of(northbound.networks[wiring.network.id]) == _as_of(wiring.network), "or of a network"
        for group in wiring.security_groups:
            assert _as_of(northbound.groups[group.id]) == _as_of(group), "or of a security group"


def _rebuilt(session: Session, guests: GuestsByServer) -> None:
    """A rebuild that succeeded gave its server a disk of its own."""
    query = (
        select(OperationRow.subject_id, StepRow.result)
        .join(StepRow, StepRow.operation_id == OperationRow.id)
        .where(OperationRow.kind == "server.rebuild", OperationRow.state == "succeeded", StepRow.position == 0)
    )
    for server_id, renewed in session.execute(query):
        for _, guest in guests.get(server_id, []):
            assert guest.disk >= renewed["incarnation"], f"server {server_id} was rebuilt on its former disk"


def _as_of(spec: Any) -> Any:
    """A specification without its revision, which moves with changes that the network need not follow, too."""
    return replace(spec, revision=0)


def _told_once(session: Session) -> None:
    """Every effect happens once: who reads the notifications sees each success of these once."""
    told: dict[str, Counter[str]] = {event: Counter() for event in (*TOLD, BEGUN, UNDONE)}
    for row in session.scalars(select(Notification).where(Notification.event_type.in_(told))):
        told[row.event_type][row.payload["nova_object.data"]["uuid"]] += 1
    for event, kinds in TOLD.items():
        done = select(OperationRow.subject_id).where(OperationRow.kind.in_(kinds), OperationRow.state == "succeeded")
        assert told[event] == Counter(session.scalars(done)), f"{event} was told twice, or never"
    assert told[UNDONE] <= told[BEGUN], "a live migration was rolled back twice, or without having begun to be"
