"""Incarnations of a move's guests: what flows reckon beforehand is what rows have in the end."""

from __future__ import annotations

from pileus.compute.incarnations import Incarnations
from pileus.compute.migration_model import Migration
from pileus.compute.model import Server


def test_each_guest_has_its_own() -> None:
    guests = Incarnations(5)
    assert (guests.source, guests.dest, guests.restored) == (5, 6, 7)
    assert Incarnations.to(6) == Migration(source_incarnation=5).incarnations == guests


def test_a_server_that_was_taken_back_goes_on_with_new_ones() -> None:
    server = Server(incarnation=4, prepared=0)
    guests = Incarnations(server.next_incarnation)
    server.incarnation = guests.restored
    assert guests.again().source == server.next_incarnation
