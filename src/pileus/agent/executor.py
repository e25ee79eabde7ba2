"""Carries commands out: one at a time for each subject, many subjects at once, each key once."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from typing import Any

from pileus.agent.commands import (
    Answer,
    AnyCommand,
    BuildGuest,
    DiscardGuest,
    DropNetwork,
    DropPort,
    DropSecurityGroup,
    Envelope,
    Failure,
    RebootGuest,
    StartGuest,
    StopGuest,
    SyncNetwork,
    SyncPort,
    SyncSecurityGroup,
    UpdateInstanceData,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Hypervisor
from pileus.agent.journal import Journal
from pileus.agent.network.base import Network
from pileus.agent.timeline import Timeline

log = logging.getLogger(__name__)


class Executor:
    """Takes envelopes in, puts answers into the journal."""

    def __init__(self, hypervisor: Hypervisor, network: Network, journal: Journal, threads: int = 16) -> None:
        self._hypervisor, self._network, self._journal = hypervisor, network, journal
        self._waiting: dict[str, deque[Envelope]] = {}
        self._timelines: dict[str, Timeline] = {}
        self._accepted: set[str] = set()
        self._lock = threading.Lock()
        self._ready: queue.SimpleQueue[str] = queue.SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._work, daemon=True, name=f"command-{number}").start()

    def submit(self, envelope: Envelope) -> None:
        """Accept a command; its answer appears in the journal's feed. A repeated one is answered from the journal."""
        if not self._journal.admit(envelope.operation_id, envelope.attempt):
            log.info("command %s of a stale attempt %d is ignored", envelope.key, envelope.attempt)
            return
        if recorded := self._journal.answer(envelope.key):
            self._journal.repeat(recorded)
            return
        subject = envelope.command.subject
        with self._lock:
            if envelope.key in self._accepted:
                return
            self._accepted.add(envelope.key)
            if isinstance(envelope.command, DiscardGuest) and subject in self._timelines:
                self._timelines[subject].abandon()
            lane = self._waiting.get(subject)
            if lane is not None:
                lane.append(envelope)
                return
            self._waiting[subject] = deque([envelope])
        self._ready.put(subject)

    def _work(self) -> None:
        while True:
            subject = self._ready.get()
            with self._lock:
                envelope = self._waiting[subject][0]
                timeline = self._timelines[subject] = Timeline()
            self._journal.record(self._answer(envelope, timeline))
            with self._lock:
                self._accepted.discard(envelope.key)
                del self._timelines[subject]
                lane = self._waiting[subject]
                lane.popleft()
                if not lane:
                    del self._waiting[subject]
                    continue
            self._ready.put(subject)

    def _answer(self, envelope: Envelope, timeline: Timeline) -> Answer:
        failure, result = None, {}
        try:
            result = self._carry_out(envelope.host, envelope.command, timeline)
        except CommandFailed as error:
            failure = Failure(code=error.code, message=error.message)
        except Exception:
            log.exception("command %s hit a defect", envelope.key)
            failure = Failure(code="internal", message=f"Internal error of the agent on {envelope.host}.")
        return Answer(key=envelope.key, host=envelope.host, result=result, failure=failure, events=timeline.events())

    def _carry_out(self, host: str, command: AnyCommand, timeline: Timeline) -> dict[str, Any]:
        hypervisor, network = self._hypervisor, self._network
        match command:
            case BuildGuest():
                return {"power_state": hypervisor.build(host, command.guest, command.plug_timeout_s, timeline)}
            case StartGuest():
                return {"power_state": hypervisor.power_on(host, command.guest, command.plug_timeout_s, timeline)}
            case StopGuest():
                return {"power_state": hypervisor.power_off(host, command.server_id, command.timeout_s, timeline)}
            case RebootGuest():
                state = hypervisor.reboot(host, command.guest, command.hard, command.timeout_s, timeline)
                return {"power_state": state}
            case DiscardGuest():
                self._discard(host, command, timeline)
            case UpdateInstanceData():
                hypervisor.update_data(host, command.guest)
            case SyncNetwork():
                network.sync_network(command.network)
            case DropNetwork():
                network.drop_network(command.network_id)
            case SyncPort():
                network.sync_port(command.wiring)
            case DropPort():
                network.drop_port(command.port_id)
            case SyncSecurityGroup():
                network.sync_security_group(command.group)
            case DropSecurityGroup():
                network.drop_security_group(command.group_id)
        return {}

    def _discard(self, host: str, command: DiscardGuest, timeline: Timeline) -> None:
        with timeline.stage("destroy guest"):
            self._hypervisor.discard(host, command.server_id, timeline)
        with timeline.stage("unplug port"):
            self._network.unplug([*command.port_ids, *(port.id for port in command.kept_ports)])
            for port_id in command.port_ids:
                self._network.drop_port(port_id)
            for port in command.kept_ports:
                self._network.unbind_port(port)
