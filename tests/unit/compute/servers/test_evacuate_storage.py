"""Evacuation: what becomes of the disks, on storage that hosts share and on their own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pileus.agent.commands import DiscardGuest, GuestReport, PrepareGuest, TakeOverGuest
from pileus.compute.model import Server
from pileus.operations import debts
from tests.unit.compute.servers.lost import V2_1, Lost


def test_a_disk_on_shared_storage_is_kept(lost: Lost) -> None:
    lost.hosts.says = {"power_state": 1, "shared": True}
    lost.evacuate(adminPass="given")
    (take,) = lost.sent(TakeOverGuest)
    assert take.guest.data.admin_pass is None, "what is on the disk stays"


@pytest.mark.parametrize("said", [True, False])
def test_what_old_versions_say_of_storage_has_to_be_so(lost: Lost, said: bool) -> None:
    lost.evacuate(V2_1, onSharedStorage=said)
    assert [one.shared for one in lost.sent(PrepareGuest)] == [said]


@pytest.mark.parametrize("deleted", [False, True])
def test_a_source_that_is_back_leaves_a_shared_disk_that_nobody_took_over_yet(lost: Lost, deleted: bool) -> None:
    lost.hosts.says = {"power_state": 1, "shared": True}
    lost.refuse(TakeOverGuest)
    lost.evacuate()
    there = lost.row().host or ""
    if deleted:
        assert lost.demo("DELETE", f"/compute/v2.1/servers/{lost.id}").status_code == 204
        lost.replica.run()
    lost.hosts.sent.clear()
    lost.declare(lost.source, False)
    lost.pay()
    (told,) = lost.sent(DiscardGuest)
    assert (told.incarnation, told.to) == (1, "" if deleted else there)
    assert lost.owed() == []


def test_a_source_that_is_back_removes_a_disk_that_nobody_has(lost: Lost) -> None:
    lost.evacuate()
    lost.declare(lost.source, False)
    lost.pay()
    assert lost.sent(DiscardGuest)[-1].to == ""


def test_a_host_whose_former_guest_nobody_had_discarded_is_none_to_go_back_to(lost: Lost) -> None:
    """What it was owed was written off: it still has the disk, on shared storage the only one, and a newer guest that
    is made there takes the place of the former."""
    lost.hosts.says = {"power_state": 1, "shared": True}
    lost.refuse(TakeOverGuest)
    lost.evacuate()
    second = lost.row().host or ""
    with lost.serving.db.write() as session:
        (debt,) = debts.open_debts(session, [lost.id])
        assert debts.forget(session, debt.id)
        session.get_one(Server, lost.id).updated_at -= timedelta(minutes=5)
    lost.declare(lost.source, False)
    lost.tell(lost.source, GuestReport(server_id=lost.id, power_state=None, incarnation=1))
    lost.declare(second)
    lost.hosts.automatic = lambda envelope: None
    lost.evacuate(host=lost.source)
    assert lost.commands() == [] and lost.row().host == second and lost.fault()
    lost.evacuate()
    assert lost.row().host not in (lost.source, second)
    assert not [one for one in lost.commands() if one[1] == lost.source]


def test_a_report_amid_an_evacuation_does_not_hide_it(lost: Lost) -> None:
    stray = GuestReport(server_id=lost.id, power_state=None, incarnation=1)
    second = next(iter({"host-0", "host-1"} - {lost.source}))
    with lost.serving.db.write() as session:
        session.get_one(Server, lost.id).updated_at -= timedelta(minutes=5)
    lost.tell(second, stray)
    assert lost.ask().status_code == 200
    lost.tell(second, stray)
    for one in {"host-2", "host-3"}:
        lost.declare(one)
    lost.hosts.sent.clear()
    lost.replica.run()
    assert lost.commands() == [] and lost.row().host == lost.source
