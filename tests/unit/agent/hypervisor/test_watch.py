"""Which changes of a guest are news."""

from __future__ import annotations

from pileus.agent.commands import PowerState
from pileus.agent.hypervisor.watch import Watch


def test_only_what_no_command_made_is_news() -> None:
    told: list[tuple[str, int]] = []
    looked: list[str] = []
    watch = Watch(lambda *news: told.append(news), looked.append)
    with watch.command("a"):
        watch.seen("a", PowerState.PAUSED)
        watch.known("a", PowerState.RUNNING)
        watch.seen("b", PowerState.SHUTDOWN)
    assert (told, looked) == ([("b", PowerState.SHUTDOWN)], ["a"])
    watch.seen("a", PowerState.RUNNING)  # late news of what the command did
    watch.seen("a", None)
    assert len(told) == 1
    watch.seen("a", PowerState.CRASHED)
    watch.seen("a", PowerState.CRASHED)
    assert told[1:] == [("a", PowerState.CRASHED)]


def test_a_guest_that_is_gone_is_forgotten() -> None:
    told: list[tuple[str, int]] = []
    watch = Watch(lambda *news: told.append(news), lambda _: None)
    watch.known("a", PowerState.RUNNING)
    watch.known("a", None)
    watch.seen("a", PowerState.RUNNING)
    assert told == [("a", PowerState.RUNNING)]
