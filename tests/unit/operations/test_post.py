"""The post without I/O: what goes to an agent, in which order, and what is made of what it says."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest

from pileus.agent.commands import (
    CONTRACT,
    MOST_ENTRY_BYTES,
    AgentReport,
    Answer,
    DiscardGuest,
    Envelope,
    Failure,
    FeedEntry,
    GuestEvent,
    HostReport,
    Progress,
)
from pileus.agent.commands.reports import MOST_GUESTS
from pileus.operations.post import BATCH, Link, Post, Refused

ASKED = datetime(2026, 1, 2, 3, 4, 5)


class Ears:
    """A listener that keeps what it hears; raises as long as it is told to."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.raises: Exception | None = None

    def _hear(self, what: Any) -> None:
        if self.raises:
            raise self.raises
        self.heard.append(what)

    def report(self, report: AgentReport, asked: datetime) -> None:
        assert asked == ASKED
        self._hear(report)

    def alive(self, hosts: list[str]) -> None:
        """Every answer of the agent is a sign of life."""

    def answer(self, answer: Answer) -> None:
        self._hear(answer)

    def guest(self, event: GuestEvent) -> None:
        self._hear(event)

    def progress(self, progress: Progress) -> None:
        self._hear(progress)


def envelope(key: str, host: str = "h", attempt: int = 1) -> Envelope:
    command = DiscardGuest(server_id="s")
    return Envelope(key=key, operation_id="op", attempt=attempt, host=host, deadline_s=10, command=command)


def greeting(*hosts: str, last: int = 0, contract: int = CONTRACT) -> bytes:
    reports = tuple(
        HostReport(name=name, hypervisor_type="fake", hypervisor_version=1, host_ip="", inventories={})
        for name in hosts
    )
    report = AgentReport(started=1.0, network="fake", contract=contract, hosts=reports)
    return msgspec.json.encode({"report": report, "last": last})


def keys(envelopes: list[Envelope]) -> list[str]:
    return [one.key for one in envelopes]


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def link(post: Post, ears: Ears) -> Link:
    """The way to the agent of host h."""
    link = Link(post, ears)
    link.greeted(greeting("h"), ASKED)
    del ears.heard[:]
    return link


def test_commands_go_to_the_agent_of_their_host(post: Post, ears: Ears, link: Link) -> None:
    other = Link(post, ears)
    other.greeted(greeting("a", "b"), ASKED)
    assert post.send(envelope("1")) and post.send(envelope("2", "b")) and post.send(envelope("3", "a"))
    assert not post.send(envelope("4", "nobody's"))
    assert keys(link.batch()) == ["1"] and keys(other.batch()) == ["2", "3"]


def test_the_link_is_told_that_there_is_something_to_deliver(post: Post, link: Link) -> None:
    rung: list[str] = []
    link.ready = lambda: rung.append("ready")
    post.send(envelope("1"))
    assert rung == ["ready"]
    post.send(envelope("1", attempt=2))
    assert rung == ["ready"], "it is on its way"
    link.delivered(link.batch())
    post.send(envelope("1", attempt=3))
    assert rung == ["ready", "ready"], "an agent that has seen a newer attempt has ignored the former"


def test_a_failed_delivery_keeps_the_order(post: Post, link: Link) -> None:
    for number in range(3):
        post.send(envelope(f"{number}"))
    failed = link.batch()
    post.send(envelope("later"))
    assert keys(failed) == ["0", "1", "2"] and keys(link.batch()) == ["0", "1", "2", "later"]
    link.delivered(failed)
    assert keys(link.batch()) == ["later"]
    link.delivered(link.batch())
    assert link.batch() == []


def test_a_large_number_is_delivered_in_batches(post: Post, link: Link) -> None:
    for number in range(2 * BATCH + 1):
        post.send(envelope(f"{number}"))
    sizes = []
    while batch := link.batch():
        sizes.append(len(batch))
        link.delivered(batch)
    assert sizes == [BATCH, BATCH, 1]


def test_what_was_withdrawn_is_not_delivered(post: Post, link: Link) -> None:
    for key in ("1", "2", "3"):
        post.send(envelope(key))
    post.withdraw("1")
    post.withdraw("3")
    post.withdraw("unknown")
    assert keys(link.batch()) == ["2"]
    link.delivered(link.batch())
    assert link.batch() == [] and keys([one.envelope for one in post.letters()]) == ["2"]


def test_the_newest_attempt_is_what_is_delivered(post: Post, link: Link) -> None:
    post.send(envelope("1"))
    post.send(envelope("2"))
    post.send(envelope("1", attempt=2))
    assert [(one.key, one.attempt) for one in link.batch()] == [("1", 2), ("2", 1)]


def test_what_is_not_answered_is_delivered_again_after_reconnecting(post: Post, ears: Ears, link: Link) -> None:
    for key in ("1", "2", "3"):
        post.send(envelope(key))
    link.delivered(link.batch())
    link.take(msgspec.json.encode([FeedEntry(sequence=1, answer=Answer(key="2", host="h"))]))
    post.closed(link)
    assert not post.send(envelope("4")), "kept for when the agent is back"
    again = Link(post, ears)
    again.greeted(greeting("h", last=1), ASKED)
    assert keys(again.batch()) == ["1", "3", "4"] and link.batch() == []


def test_a_second_agent_of_a_host_is_believed_when_the_first_is_gone(post: Post, ears: Ears, link: Link) -> None:
    second = Link(post, ears)
    second.greeted(greeting("h"), ASKED)
    assert post.send(envelope("1")) and keys(link.batch()) == ["1"] and second.batch() == []
    post.closed(link)
    second.reported(greeting("h"), ASKED)
    assert keys(second.batch()) == ["1"]


def test_an_agent_answers_for_its_own_hosts_only(post: Post, ears: Ears, link: Link) -> None:
    other = Link(post, ears)
    other.greeted(greeting("other"), ASKED)
    post.send(envelope("1"))
    forged = [FeedEntry(sequence=n, answer=Answer(key="1", host=host)) for n, host in enumerate(("h", "other"), 1)]
    event = FeedEntry(sequence=3, guest=GuestEvent(server_id="s", host="h", power_state=4, at=1.0))
    other.take(msgspec.json.encode([*forged, event]))
    said = [one for one in ears.heard if not isinstance(one, AgentReport)]
    assert said == [] and len(post.letters()) == 1


def test_an_answer_ends_the_delivery_and_is_heard(post: Post, ears: Ears, link: Link) -> None:
    post.send(envelope("1"))
    answer = Answer(key="1", host="h", result={"power_state": 1})
    link.take(msgspec.json.encode([FeedEntry(sequence=7, answer=answer)]))
    assert ears.heard == [answer] and post.letters() == [] and link.batch() == [] and link.after == 7


def test_the_feed_is_heard_in_order(post: Post, ears: Ears, link: Link) -> None:
    post.send(envelope("1"))
    event = GuestEvent(server_id="s", host="h", power_state=4, at=1.0)
    progress = Progress(key="1", stage="fetch image", done=1, total=2)
    answer = Answer(key="1", host="h")
    entries = [
        FeedEntry(sequence=1, progress=progress),
        FeedEntry(sequence=2, guest=event),
        FeedEntry(sequence=3, answer=answer),
    ]
    link.take(msgspec.json.encode(entries))
    assert ears.heard == [progress, event, answer] and link.after == 3


@pytest.mark.parametrize("last", [False, True])
def test_an_entry_that_is_not_understood_does_not_stop_the_feed(ears: Ears, link: Link, last: bool) -> None:
    """Neither those behind it are kept waiting, nor is it asked for again and again."""
    event = GuestEvent(server_id="s", host="h", power_state=4, at=1.0)
    entries: list[Any] = [{"sequence": 5, "guest": {"of": "another release"}}]
    entries.insert(0 if last else 1, FeedEntry(sequence=4 if last else 6, guest=event))
    link.take(msgspec.json.encode(entries))
    assert ears.heard == [event] and link.after == (5 if last else 6)


def test_an_entry_that_is_too_long_is_passed_over(post: Post, ears: Ears, link: Link) -> None:
    post.send(envelope("1"))
    long = [Answer(key="1", host="h", result={"files": ["x" * size]}) for size in (MOST_ENTRY_BYTES, 1000)]
    link.take(msgspec.json.encode([FeedEntry(sequence=n, answer=one) for n, one in enumerate(long, 1)]))
    assert ears.heard == long[1:] and link.after == 2


def test_why_a_command_failed_is_heard_in_few_printable_words(post: Post, ears: Ears, link: Link) -> None:
    """It becomes a row, and PostgreSQL takes no NUL: the operation would try to write it for ever."""
    post.send(envelope("1"))
    said = Answer(key="1", host="h", failure=Failure(code="stor\0age", message="a\0b" + "\x1b" * 100_000))
    link.take(msgspec.json.encode([FeedEntry(sequence=1, answer=said)]))
    (heard,) = ears.heard
    assert heard.key == "1" and heard.failure.code == r"stor\x00age" and heard.failure.message.startswith(r"a\x00b")
    assert heard.failure.message.isprintable() and len(heard.failure.message) < 10_000
    assert post.letters() == []


def test_a_listener_that_raises_gets_the_entry_again(post: Post, ears: Ears, link: Link) -> None:
    first, second = (GuestEvent(server_id="s", host="h", power_state=state, at=1.0) for state in (4, 1))
    feed = [FeedEntry(sequence=number + 1, guest=event) for number, event in enumerate((first, second))]
    link.take(msgspec.json.encode(feed[:1]))
    ears.raises = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        link.take(msgspec.json.encode(feed[1:]))
    assert link.after == 1
    ears.raises = None
    link.take(msgspec.json.encode(feed[1:]))
    assert ears.heard == [first, second] and link.after == 2


def test_an_answer_that_the_listener_could_not_take_is_asked_for_again(post: Post, ears: Ears, link: Link) -> None:
    """The conversation begins anew then: from the feed's end, and with all that is not answered."""
    post.send(envelope("1"))
    link.delivered(link.batch())
    ears.raises = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        link.take(msgspec.json.encode([FeedEntry(sequence=1, answer=Answer(key="1", host="h"))]))
    ears.raises = None
    post.closed(link)
    again = Link(post, ears)
    again.greeted(greeting("h", last=1), ASKED)
    assert keys(again.batch()) == ["1"]


@pytest.mark.parametrize(("apart", "why"), [(-2, "too old: bring the host"), (2, "too new: bring the replicas")])
def test_an_agent_whose_contract_is_another_is_refused(post: Post, ears: Ears, apart: int, why: str) -> None:
    """Releases may be one apart, whichever comes first."""
    link = Link(post, ears)
    with pytest.raises(Refused, match=why):
        link.greeted(greeting("h", contract=CONTRACT + apart), ASKED)
    assert ears.heard == [] and not post.send(envelope("1"))
    link.greeted(greeting("h", contract=CONTRACT + apart // 2), ASKED)
    assert keys(link.batch()) == ["1"]


def test_the_feed_is_read_from_where_it_was_before_the_report(post: Post, ears: Ears) -> None:
    link = Link(post, ears)
    link.greeted(greeting("h", last=42), ASKED)
    assert link.after == 42 and [host.name for host in ears.heard[0].hosts] == ["h"]
    link.reported(greeting("h", last=50), ASKED)
    assert link.after == 42, "a later report does not skip what happened meanwhile"


# --- reports that are not understood ------------------------------------------------------------------------------


def said(*hosts: dict[str, Any], **agent: Any) -> bytes:
    return json.dumps({"report": {"started": 1.0, "network": "fake", "hosts": hosts} | agent, "last": 7}).encode()


def told(name: str, **changes: Any) -> dict[str, Any]:
    return (
        {"name": name, "hypervisor_type": "QEMU", "hypervisor_version": 1, "host_ip": "192.0.2.1"}
        | {"inventories": {"VCPU": {"total": 8}}}
        | changes
    )


def stock(**changes: Any) -> dict[str, Any]:
    return told("bad", inventories={"VCPU": {"total": 8}, "DISK_GB": {"total": 8} | changes})


BAD = [
    *(stock(total=total) for total in (-1, 2**31, 2**63, 1.5)),
    *(stock(reserved=reserved) for reserved in (-1, 9)),
    *(stock(**{name: value}) for name in ("min_unit", "step_size") for value in (0, -1, 2**31)),
    *(stock(max_unit=most) for most in (-1, 2**31)),
    *(stock(allocation_ratio=ratio) for ratio in (0, -1.0, 10_001, 1e308)),
    *(told("bad", inventories={name: {"total": 1}}) for name in ("", "VCPU\n", "vcpu", "A" * 256)),
    told("bad", inventories={f"CUSTOM_{number}": {"total": 1} for number in range(101)}),
    *(told(name) for name in ("", "bad\x1b", "bad\n", "bad/../good", ".bad", "b" * 256, 5)),
    *(told("bad", traits=[trait]) for trait in ("", "CUSTOM_\x00", "T" * 256)),
    *(
        told("bad", **{name: text})
        for name in ("hypervisor_type", "host_ip")
        for text in ("\x1b[2J", "\x00", "1" * 256)
    ),
    told("bad", hypervisor_version=2**31),
    *(told("bad", cpu_info={"arch": arch}) for arch in ("x" * 65536, "x86\x1b", "\x00")),
    told("bad", guests=[{"server_id": "s", "power_state": 1}] * (MOST_GUESTS + 1)),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: str(bad)[:200])
def test_a_host_that_is_not_understood_does_not_keep_the_others(post: Post, ears: Ears, bad: dict[str, Any]) -> None:
    link = Link(post, ears)
    link.greeted(said(told("h1"), bad, told("h2")), ASKED)
    assert [host.name for host in ears.heard[0].hosts] == ["h1", "h2"]
    assert link.hosts == {"h1", "h2"} and link.after == 7


def test_the_most_that_a_host_may_say_is_understood(post: Post, ears: Ears) -> None:
    most = {"total": 2**31 - 1, "reserved": 2**31 - 1, "max_unit": 2**31 - 1, "allocation_ratio": 10_000.0}
    host = told("h" * 255, inventories={"VCPU": most, "DISK_GB": {"total": 0}}, cpu_info={"arch": "x" * 60_000})
    host["guests"] = [{"server_id": "\N{BLACK STAR}", "power_state": 1}] + [
        {"server_id": f"s{number}", "power_state": None} for number in range(MOST_GUESTS - 1)
    ]
    Link(post, ears).greeted(said(host), ASKED)
    [heard] = ears.heard[0].hosts
    assert heard.inventories["VCPU"].reserved == 2**31 - 1 and len(heard.guests) == MOST_GUESTS - 1


def test_a_guest_that_is_not_understood_does_not_keep_the_others(
    post: Post, ears: Ears, caplog: pytest.LogCaptureFixture
) -> None:
    strange = [
        {"server_id": "\x1b[2J", "power_state": 1},
        *({"server_id": "s", "power_state": n} for n in (2, True)),
        5,
    ]
    guests = [{"server_id": "s1", "power_state": 1}, *strange, {"server_id": "s2", "power_state": None}]
    Link(post, ears).greeted(said(told("h", guests=guests), {"name": "no host"}), ASKED)
    [host] = ears.heard[0].hosts
    assert [guest.server_id for guest in host.guests] == ["s1", "s2"]
    [line] = caplog.messages
    assert "5 hosts or guests are not understood" in line and len(line) < 1000, "however many there are"


@pytest.mark.parametrize(
    "agent",
    [{"southbound": "ssl:h:6642 --db=x"}, {"southbound": "tcp:h:6642"}, {"address": "h\n:1"}, {"network": "\x1b"}],
    ids=str,
)
def test_an_agent_that_is_not_understood_is_not_heard(post: Post, ears: Ears, agent: dict[str, Any]) -> None:
    with pytest.raises(msgspec.DecodeError):
        Link(post, ears).greeted(said(told("h"), **agent), ASKED)
    assert ears.heard == []
