"""A machine joins: who may, under which names, and what a replica knows of it afterwards."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from pileus import certificates, clock, jointoken
from pileus.agent import joining
from pileus.agent.commands import CertificateRequest
from pileus.agent.errors import CommandFailed
from pileus.agent.papers import PapersFolder
from pileus.certificates import AGENT, Papers
from pileus.db import utcnow
from pileus.errors import NotFound, Unavailable
from pileus.jointoken import Application
from pileus.membership import agents, authority
from pileus.membership.members import Members
from pileus.membership.model import Agent, JoinTokenRow
from pileus.operations import ids
from pileus.operations.wires import Local, Remote
from tests.client import Client
from tests.unit.serving import Serving


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    (tmp_path / "cloud").mkdir()
    made = Serving(tmp_path / "cloud")
    with made.db.write() as session:
        ids.make_cloud_id(session)
        session.flush()
        authority.found(session)
    return made


@pytest.fixture
def anybody(serving: Serving) -> Client:
    return Client(serving.client.simulate_request, "/membership/v1", None)


@pytest.fixture
def token(serving: Serving) -> str:
    with serving.cloud.db.write() as session:
        return agents.issue_token(session, 3600)


def application(token: str, name: str = "rack1", **other: object) -> Application:
    known, key = jointoken.parse(token), certificates.new_key()
    said = Application(
        token=known.id,
        name=name,
        simulates=False,
        address="10.0.0.5:7000",
        request=certificates.request(key).decode(),
        at=int(clock.time()),
    )
    return replace(said, **other).sealed_with(known.key)


def ask(anybody: Client, said: Application) -> tuple[int, dict[str, object]]:
    answer = anybody("POST", "/agents", json={"agent": {name: getattr(said, name) for name in said.__struct_fields__}})
    return answer.status_code, answer.json


# --- who may ------------------------------------------------------------------------------------------------------


def test_who_has_a_token_joins_and_gets_a_certificate(anybody: Client, token: str) -> None:
    said = application(token)
    status, answer = ask(anybody, said)
    assert status == 201
    admitted = answer["agent"]
    assert isinstance(admitted, dict)
    made = jointoken.Admission(**admitted)
    assert made.is_sealed_with(jointoken.parse(token).key, said)


def test_nobody_joins_without_a_token(serving: Serving, anybody: Client, token: str) -> None:
    said = application(token)
    other = application(jointoken.new().text)
    forged = [other, replace(said, name="rack2"), replace(said, seal=""), replace(other, token=said.token)]
    for one in forged:
        status, answer = ask(anybody, one)
        assert status == 403 and "token" in answer["error"]["message"]  # type: ignore[index]
    with serving.cloud.db.write() as session:
        session.execute(update(JoinTokenRow).values(expires_at=utcnow() - timedelta(seconds=1)))
    assert ask(anybody, said)[0] == 403
    with serving.cloud.db.write() as session:
        assert session.get(Agent, "rack1") is None
        agents.issue_token(session, 60)
        assert session.get(JoinTokenRow, said.token) is None, "forgotten"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "../etc"}, "name"),
        ({"name": ""}, "name"),
        ({"address": "10.0.0.5"}, "address"),
        ({"address": "10.0.0.5:0"}, "address"),
        ({"address": "10.0.0.5:65536"}, "address"),
        ({"address": "a b:1"}, "address"),
        ({"address": "0.0.0.0:7000"}, "address"),
        ({"address": "0:7000"}, "address"),
        ({"address": "0x7f.1:7000"}, "address"),
        ({"address": "224.0.0.1:7000"}, "address"),
        ({"address": "[::]:7000"}, "address"),
        ({"address": "[::ffff:0.0.0.0]:7000"}, "address"),
        ({"address": "[:::::]:1"}, "address"),
        ({"address": "a..b:7000"}, "address"),
        ({"address": f"{'x' * 64}:7000"}, "address"),
        ({"address": f"{'x.' * 150}x:7000"[-255:]}, "address"),
        ({"request": "nonsense"}, "request"),
    ],
)
def test_bad_input_is_named(anybody: Client, token: str, wrong: dict[str, object], field: str) -> None:
    status, answer = ask(anybody, application(token, **wrong))  # type: ignore[arg-type]
    assert status == 400 and field in answer["error"]["message"]  # type: ignore[index]


@pytest.mark.parametrize("host", ["127.0.0.1", "[fd00::1]", "localhost", "7.rack_1-a.example", "x" * 63])
def test_where_an_agent_may_be(host: str) -> None:
    agents.check_address(f"{host}:7000")


# --- names --------------------------------------------------------------------------------------------------------


def test_who_did_not_hear_the_answer_asks_again(serving: Serving, anybody: Client, token: str) -> None:
    said = application(token)
    moved = replace(said, address="10.0.0.6:7001").sealed_with(jointoken.parse(token).key)
    assert [ask(anybody, one)[0] for one in (said, said, moved)] == [201, 201, 201]
    with serving.cloud.db.read() as session:
        assert session.get_one(Agent, "rack1").address == "10.0.0.6:7001"


def test_nobody_joins_under_anothers_name(serving: Serving, anybody: Client, token: str) -> None:
    assert ask(anybody, application(token))[0] == 201
    status, answer = ask(anybody, application(token))
    assert status == 409 and "pileus host forget rack1" in answer["error"]["message"]  # type: ignore[index]
    with serving.cloud.db.write() as session:
        agents.forget(session, "rack1")
        with pytest.raises(NotFound):
            agents.forget(session, "rack1")
    assert ask(anybody, application(token))[0] == 201


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a", True), ("x.a", False)),
        (("x.a", False), ("a", True)),
        (("a", True), ("b.a", True)),
        (("b.a", True), ("a", True)),
    ],
)
def test_hosts_of_one_are_not_anothers(
    anybody: Client, token: str, first: tuple[str, bool], second: tuple[str, bool]
) -> None:
    statuses = [ask(anybody, application(token, name, simulates=many))[0] for name, many in (first, second)]
    assert statuses == [201, 409]


def test_the_hosts_of_the_machine_itself_are_not_anothers(serving: Serving, anybody: Client, token: str) -> None:
    with serving.cloud.db.write() as session:
        agents.enter_own(session, "control", "fake-*", "r1")
    assert [ask(anybody, application(token, name))[0] for name in ("fake-7", "control", "real")] == [409, 409, 201]


@pytest.mark.parametrize(
    ("pattern", "own", "others"),
    [
        ("a", ["a"], ["b", "a.b", "", "*"]),
        ("*.a", ["fake-1.a", "x.y.a"], ["a", ".a", "fake-1.b", "fake-1.aa"]),
        ("fake-*", ["fake-1", "fake-22"], ["fake-", "fake", "other", "fake-1.a", "fake-x"]),
    ],
)
def test_whose_a_host_is(pattern: str, own: list[str], others: list[str]) -> None:
    assert all(agents.owns(pattern, host) for host in own)
    assert not any(agents.owns(pattern, host) for host in others)


# --- what a replica knows -----------------------------------------------------------------------------------------


@pytest.fixture
def members(serving: Serving) -> Members:
    return Members(serving.cloud.db, serving.cloud.settings)


def test_ways_to_agents(serving: Serving, anybody: Client, token: str, members: Members) -> None:
    mine = serving.cloud.settings.replica_id
    with serving.cloud.db.write() as session:
        agents.enter_own(session, "here", "fake-*", mine)
        agents.enter_own(session, "there", "host-*", "another replica's")
    assert ask(anybody, application(token, "rack1", simulates=True))[0] == 201
    contacts = {one.name: one for one in members.contacts()}
    assert contacts.keys() == {"here", "rack1"}, "nobody knows yet where the other one is"
    assert contacts["here"].way == Local(serving.cloud.settings.agent_socket) and contacts["here"].owns("fake-3")
    way = contacts["rack1"].way
    assert isinstance(way, Remote) and (way.host, way.port, way.who.name) == ("10.0.0.5", 7000, "rack1")
    assert contacts["rack1"].owns("fake-1.rack1") and not contacts["rack1"].owns("fake-1")
    assert members.way_to("fake-9.rack1") == way and isinstance(members.way_to("fake-1"), Local)
    for nowhere in ("host-1", "elsewhere"):
        with pytest.raises(Unavailable, match=nowhere):
            members.way_to(nowhere)
    with serving.cloud.db.write() as session:
        agents.note_addresses(session, "there", "[fd00::1]:9", "")
    other = members.way_to("host-1")
    assert isinstance(other, Remote) and (other.host, other.port) == ("fd00::1", 9)


def test_a_host_that_joined_is_not_ovns_central(serving: Serving, anybody: Client, token: str) -> None:
    """It would be trusted with the networks of those that join after it."""
    assert ask(anybody, application(token, "rack1"))[0] == 201
    with serving.cloud.db.write() as session:
        agents.enter_own(session, "here", "here", "r1")
        agents.note_addresses(session, "rack1", "10.0.0.5:7000", "ssl:10.0.0.5:6642")
        assert agents.southbound(session) == ""
        agents.note_addresses(session, "here", "10.0.0.1:7000", "ssl:10.0.0.1:6642")
        assert agents.southbound(session) == "ssl:10.0.0.1:6642"


def test_a_replica_keeps_its_papers_and_renews_them(
    members: Members, serving: Serving, anybody: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(anybody, application(token))[0] == 201

    def papers() -> Papers:
        way = members.way_to("rack1")
        assert isinstance(way, Remote)
        return way.papers

    first = papers()
    assert papers() == first
    monkeypatch.setattr(Papers, "ends", property(lambda self: datetime.now(UTC) + timedelta(days=1)))
    assert papers() != first


def test_a_certificate_is_renewed_when_a_third_of_its_time_is_left(members: Members, serving: Serving) -> None:
    lasts = serving.cloud.settings.certificate_lifetime_s
    asked = certificates.request(certificates.new_key()).decode()
    for left, renewed in ((0.0, True), (lasts * 0.3, True), (lasts * 0.4, False)):
        ends = datetime.now(UTC).timestamp() + left
        given = members.certify("rack1", CertificateRequest(request=asked, ends=ends))
        assert (given is not None) is renewed


# --- the machine's side -------------------------------------------------------------------------------------------


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url(serving: Serving) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, serving.cloud.application(), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_machine_joins(url: str, token: str, tmp_path: Path, serving: Serving) -> None:
    state = tmp_path / "agent"
    for _ in range(2):  # the second time nothing is different
        joining.join(state, url, token, "rack1", ("10.0.0.5", 7000), simulates=False)
    papers = PapersFolder(state / "papers").papers()
    assert papers is not None
    papers.context(ssl.Purpose.CLIENT_AUTH)
    who = certificates.Identity((state / "cloud").read_text(), AGENT, "rack1")
    assert who.uri.encode() in certificates_uris(papers)
    assert joining.own_address(url) == "127.0.0.1"


def certificates_uris(papers: Papers) -> bytes:
    from cryptography import x509

    names = x509.load_pem_x509_certificate(papers.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return b" ".join(name.value.encode() for name in names.value)


def joined(state: Path) -> bool:
    return (state / "cloud").exists() or PapersFolder(state / "papers").papers() is not None


def test_a_machine_that_joined_and_got_a_new_certificate_joins_again(
    url: str, token: str, tmp_path: Path, members: Members
) -> None:
    """As it does at each start: it may be found elsewhere now."""
    papers = PapersFolder(tmp_path / "agent" / "papers")
    joining.join(tmp_path / "agent", url, token, "rack1", ("10.0.0.5", 7000), simulates=False)
    asked = papers.request()
    given = members.certify("rack1", replace(asked, ends=0.0))
    assert given is not None
    papers.take(given)
    with pytest.raises(CommandFailed, match="not for a key"):
        papers.take(replace(given, certificate=given.authority))
    joining.join(tmp_path / "agent", url, token, "rack1", ("10.0.0.9", 7000), simulates=False)
    way = members.way_to("rack1")
    assert isinstance(way, Remote) and way.host == "10.0.0.9"


@pytest.mark.parametrize(
    ("where", "said"),
    [("ftp://x", "wants the URL"), ("http://127.0.0.1:1", "cannot be reached"), ("http://", "wants the URL")],
)
def test_where_no_cloud_is(where: str, said: str, token: str, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=said):
        joining.join(tmp_path, where, token, "a", ("10.0.0.5", 7000), simulates=False)


def test_why_a_machine_does_not_join_is_told(url: str, token: str, tmp_path: Path) -> None:
    refused = {token[:-1]: "not known", "nonsense": "no token"}
    for wrong, why in refused.items():
        with pytest.raises(CommandFailed, match=why):
            joining.join(tmp_path / "agent", url, wrong, "a", ("10.0.0.5", 7000), simulates=False)
    assert not joined(tmp_path / "agent")


@contextmanager
def saying(*pieces: bytes) -> Iterator[str]:
    """The URL of somebody who answers everything so, a little at a time."""

    def serve() -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            client.recv(65536)
            for piece in pieces:
                client.sendall(piece)
                hung_up.wait(0.05)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):  # what is not read would break off what was said
                pass

    hung_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        hung_up.set()
        server.join()


REFUSAL = b"HTTP/1.1 403 no\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        REFUSAL + b'{"error": {"message": "\\u001b[2Jfine\\nroot@host# \\u202e"}}',
        b"\x1b[2Jfine\r\r\n",
        REFUSAL + b'{"error": {"message": "' + b"x" * 60000 + b'"}}',
    ],
    ids=["refusal", "no answer", "long"],
)
def test_what_anybody_answers_is_shown_as_one_line(answer: bytes, token: str, tmp_path: Path) -> None:
    with saying(answer) as where, pytest.raises(CommandFailed) as failed:
        joining.join(tmp_path, where, token, "a", ("10.0.0.5", 7000), simulates=False)
    assert failed.value.message.isprintable() and len(failed.value.message) < 500


def test_no_more_is_read_than_an_answer_has(token: str, tmp_path: Path) -> None:
    long = REFUSAL + b'{"error": {"message": "' + b"x" * joining.ANSWER_BYTES + b'"}}'
    with saying(long) as where, pytest.raises(CommandFailed, match="does not answer as a cloud"):
        joining.join(tmp_path, where, token, "a", ("10.0.0.5", 7000), simulates=False)


def test_an_answer_that_drips_is_not_waited_for(token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "TIMEOUT_S", 0.5)
    drips = (REFUSAL, *[b" "] * 100, b'{"error": {"message": "at last"}}')
    with saying(*drips) as where, pytest.raises(CommandFailed, match="does not answer as a cloud"):
        joining.join(tmp_path, where, token, "a", ("10.0.0.5", 7000), simulates=False)


def test_an_answer_by_somebody_else_is_not_believed(
    url: str, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents.Admission, "sealed_with", lambda self, key, asked: replace(self, seal="0" * 64))
    with pytest.raises(CommandFailed, match="not by who issued the token"):
        joining.join(tmp_path / "agent", url, token, "a", ("10.0.0.5", 7000), simulates=False)
    assert not joined(tmp_path / "agent")
