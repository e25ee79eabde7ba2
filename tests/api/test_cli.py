"""The command line: what scripts outside the repository rely on."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import openstack as sdk
import pytest

from pileus.compute import spec
from pileus.db import Database, Session, utcnow
from pileus.operations import OperationRow, debts
from tests.api.compute import User
from tests.api.conftest import FAKE
from tests.support import BIN, CloudUnderTest, eventually


def run(cloud: CloudUnderTest, *argv: str) -> subprocess.CompletedProcess[str]:
    """A verb that may fail."""
    return subprocess.run(
        [str(BIN / "pileus"), *argv, "--state", str(cloud.state)],
        capture_output=True, text=True, timeout=120, check=False, env=cloud.environment,
    )  # fmt: skip


def processes_of(state: Path) -> list[int]:
    """Processes that work in or on a state directory, by their command line or their open files."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            held = [os.readlink(one) for one in (entry / "fd").iterdir()]
        except OSError:
            continue
        if str(state) in line or any(one.startswith(str(state)) for one in held):
            found.append(int(entry.name))
    return found


@pytest.fixture
def other(new_database: Callable[[], str | None]) -> Iterator[CloudUnderTest]:
    """A cloud that was not started yet."""
    cloud = CloudUnderTest(new_database(), *FAKE, "--fake-hosts", "1")
    yield cloud
    cloud.remove()


def test_openrc(cloud: CloudUnderTest) -> None:
    lines = cloud.pileus("openrc", "--project", "demo").splitlines()
    assert all(re.fullmatch(r"export OS_[A-Z_]+=\S+", line) for line in lines)
    values = cloud.credentials("demo")
    assert (values["OS_USERNAME"], values["OS_PROJECT_NAME"]) == ("demo", "demo")
    assert values["OS_AUTH_URL"] == f"http://127.0.0.1:{cloud.port}/identity"
    assert cloud.credentials("admin")["OS_PASSWORD"] != values["OS_PASSWORD"]


def test_clouds_yaml_serves_openstacksdk(cloud: CloudUnderTest, tmp_path: Path) -> None:
    path = tmp_path / "clouds.yaml"
    path.write_text(cloud.pileus("clouds-yaml"))
    config = sdk.config.OpenStackConfig(config_files=[str(path)], load_envvars=False)
    for name in ("admin", "demo", "alt_demo"):
        connection = sdk.connection.Connection(config=config.get_one(name))
        assert connection.identity.get_project(connection.current_project_id).name == name
        assert list(connection.compute.flavors())
    system = sdk.connection.Connection(config=config.get_one("system-admin"))
    assert {"admin", "demo"} <= {project.name for project in system.identity.projects()}
    assert system.current_project_id is None


def test_status(cloud: CloudUnderTest) -> None:
    text = cloud.pileus("status")
    assert re.search(rf"cloud +running, pid {cloud.pid}\n", text)
    assert re.search(r"hosts +3, 3 up \(fake\)", text) and f"http://127.0.0.1:{cloud.port}/identity" in text


def test_trace_by_id_name_and_request(cloud: CloudUnderTest, owner: User, image: str, network: str) -> None:
    answer = owner.request_server(imageRef=image, networks=[{"uuid": network}], name="traced")
    server_id = answer.json()["server"]["id"]
    owner.settled(server_id)
    traces = [cloud.pileus("trace", one) for one in (server_id, "traced", answer.headers["x-compute-request-id"])]
    assert traces[0] == traces[1] == traces[2]
    stages = [
        "validate", "quota", "schedule", "filter RetryFilter", "filter AvailabilityZoneFilter", "filter RamFilter",
        "filter ComputeFilter", "weigh", "claim", "allocate network", "fetch image", "inspect and convert image",
        "create disk", "console", "define guest", "running", "activate",
    ]  # fmt: skip
    places = [re.search(rf"^\+[\d.]+ +{stage} .*\d\.\d{{3}}", traces[0], re.M) for stage in stages]
    missing = [stage for stage, place in zip(stages, places, strict=True) if place is None]
    assert not missing, traces[0]
    assert re.search(r"filter RamFilter .*hosts 3", traces[0])
    assert re.search(r"claim .*VCPU .*requested 1.*total 64.*limit 256", traces[0])
    assert re.search(r"server.boot .*succeeded, \d+\.\d{3} s", traces[0])
    owner.delete(server_id)
    assert "server.delete" in cloud.pileus("trace", server_id)
    unknown = run(cloud, "trace", "nothing-of-that-name")
    assert unknown.returncode == 1 and "nothing is known of nothing-of-that-name" in unknown.stderr


def test_db(cloud: CloudUnderTest) -> None:
    assert re.fullmatch(r"(\S+) \(newest \1\)\n", cloud.pileus("db", "version"))
    assert re.fullmatch(r"(\S+) -> \1\n", cloud.pileus("db", "upgrade"))
    if cloud.database is None:
        path = cloud.pileus("db", "backup").strip()
        with sqlite3.connect(path) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert copy.execute("SELECT count(*) FROM hosts").fetchone() == (3,)


def test_an_invalid_policy_file_is_refused_at_start(other: CloudUnderTest) -> None:
    (other.state / "policy").mkdir()
    (other.state / "policy" / "network.yaml").write_text('"get_network": "role:member and and"\n')
    refused = run(other, "up", "--detach", "--listen", f"127.0.0.1:{other.port}", *other.options)
    where = other.state / "policy" / "network.yaml"
    said = f"the cloud was not started: {where}: the rule of get_network is not understood: role:member and and"
    assert refused.returncode == 1 and said in refused.stderr and "Traceback" not in refused.stderr
    assert not other.log(), "nothing was started"


def test_a_second_up_in_the_same_state_fails(cloud: CloudUnderTest) -> None:
    pid = cloud.pid
    again = run(cloud, "up", "--detach", "--listen", "127.0.0.1:1")
    assert again.returncode == 1
    assert f"the cloud was not started: a cloud is running in {cloud.state} already" in again.stderr
    assert cloud.pid == pid and "running" in cloud.pileus("status")
    assert str(cloud.port) in cloud.pileus("openrc"), "the settings of the running cloud are as they were"


def test_a_busy_port_fails_and_leaves_nothing(cloud: CloudUnderTest, other: CloudUnderTest) -> None:
    other.port = cloud.port
    failed = run(other, "up", "--detach", "--listen", f"127.0.0.1:{cloud.port}", *FAKE)
    assert failed.returncode == 1
    assert f"cannot listen on 127.0.0.1:{cloud.port}" in failed.stderr
    assert not (other.state / "pileus.pid").exists() and processes_of(other.state) == []


@pytest.mark.parametrize("listen", ["8780", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000", ":8780"])
def test_a_bad_address_is_refused(other: CloudUnderTest, listen: str) -> None:
    failed = run(other, "up", "--detach", "--listen", listen, *FAKE)
    assert failed.returncode == 2 and "--listen wants HOST:PORT" in failed.stderr
    assert processes_of(other.state) == []


def test_verbs_where_there_is_no_cloud(other: CloudUnderTest) -> None:
    for verb in (
        ["status"], ["openrc"], ["clouds-yaml"], ["trace", "x"], ["db", "version"], ["db", "purge"], ["down"],
        ["guest", "list"], ["debt", "list"], ["host", "take"],
    ):  # fmt: skip
        failed = run(other, *verb)
        assert failed.returncode == 1 and "there is no cloud in" in failed.stderr, verb


def test_up_down_up_keeps_everything(other: CloudUnderTest) -> None:
    printed = other.up()
    assert printed.strip() == f"http://127.0.0.1:{other.port}/identity"
    first = other.credentials("admin")
    other.down()
    assert processes_of(other.state) == [] and not (other.state / "pileus.pid").exists()
    down = run(other, "status")
    assert down.returncode == 3 and "down" in down.stdout
    assert run(other, "down").returncode == 0
    other.up()
    assert other.credentials("admin") == first
    assert "running" in other.pileus("status")
    with socket.create_connection(("127.0.0.1", other.port), timeout=5):
        pass


def test_no_fake_hosts(new_database: Callable[[], str | None]) -> None:
    cloud = CloudUnderTest(new_database(), *FAKE, "--fake-hosts", "0")
    try:
        cloud.up()
        admin = User.login(cloud, "admin", cloud.credentials("admin")["OS_PASSWORD"], "admin")
        assert admin.get("/placement/resource_providers") == {"resource_providers": []}
        assert admin.get("/os-hypervisors") == {"hypervisors": []}
        body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        image = admin("POST", "/image/v2/images", body).json()["id"]
        headers = {"Content-Type": "application/octet-stream"}
        admin("PUT", f"/image/v2/images/{image}/file", data=bytes(512), headers=headers)
        server = admin.settled(admin.accept("2.37", imageRef=image, networks="none"))
        assert server["status"] == "ERROR" and "no host is known" in server["fault"]["message"]
    finally:
        cloud.remove()


# --- what an operator sees and decides --------------------------------------------------------------------------


@contextmanager
def writing(cloud: CloudUnderTest) -> Iterator[Session]:
    """A transaction on the cloud's own database."""
    url = cloud.database or f"sqlite:///{cloud.state}/db/pileus.db"
    db = Database(url.replace("postgresql://", "postgresql+psycopg://"), pool_size=1)
    with db.write() as session:
        yield session
    db.dispose()


def restart(cloud: CloudUnderTest) -> None:
    """The agent reports at once, not only within a minute."""
    cloud.down("--keep-guests")
    cloud.up()


def operation(**values: object) -> OperationRow:
    now = utcnow()
    fields = {
        "id": str(uuid.uuid4()), "request_id": "req-1", "kind": "server.stop", "subject_id": "a-server",
        "arguments": {}, "state": "failed", "created_at": now, "finished_at": now,
    }  # fmt: skip
    return OperationRow(**fields | values)


def test_an_unknown_guest_is_shown_and_discarded(other: CloudUnderTest) -> None:
    other.up()
    assert other.pileus("guest", "list") == "no guest is unknown\n"
    guest_id = str(uuid.uuid4())
    guest = other.state / "agent" / "fake" / "fake-1" / guest_id
    guest.parent.mkdir(exist_ok=True)
    guest.write_text("1")
    restart(other)
    eventually(lambda: guest_id in other.pileus("guest", "list"), what="the host's report")
    status = other.pileus("status")
    assert re.search(r"unknown +1 guests", status) and re.search(rf"fake-1 +{guest_id} +0 +running", status)
    for wrong, code, said in (
        (["fake-1", "../../etc"], 2, "it must be a UUID"),
        (["fake-1", guest_id.upper()], 2, "it must be a UUID"),
        (["fake-2", guest_id], 1, "Host fake-2 reports no unknown guest"),
    ):
        for verb in ("discard", "adopt"):
            refused = run(other, "guest", verb, *wrong)
            assert refused.returncode == code and said in refused.stderr, refused.stderr
    refused = run(other, "guest", "adopt", "fake-1", guest_id)
    assert refused.returncode == 1 and "remembers nothing of guest" in refused.stderr
    assert guest.exists(), "nothing was destroyed unasked"
    other.pileus("guest", "discard", "fake-1", guest_id)
    eventually(lambda: not guest.exists(), what="the end of the guest")
    eventually(lambda: other.pileus("debt", "list") == "nothing is owed\n", what="the end of the debt")
    assert other.pileus("guest", "list") == "no guest is unknown\n"


def test_guests_outlive_a_database_that_was_taken_away(
    other: CloudUnderTest, new_database: Callable[[], str | None]
) -> None:
    other.up()
    demo = other.connect("demo")
    image = other.connect("admin").image.create_image(
        name="i", disk_format="raw", container_format="bare", visibility="public", data=bytes(512)
    )
    network = demo.network.create_network(name="net")
    demo.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.1.0.0/24")
    server = demo.compute.create_server(name="kept", image_id=image.id, flavor_id="42", networks=[{"uuid": network.id}])
    server = demo.compute.wait_for_server(server)
    guest = other.state / "agent" / "fake" / "fake-1" / server.id

    other.down("--keep-guests")
    (other.state / "db").rename(other.state / "db.former")
    if other.database:
        other.database = other.environment["PILEUS_DATABASE"] = str(new_database())
    other.up()
    status = other.pileus("status")
    assert "agent      belongs to another cloud" in status and "pileus host take" in status
    refused = run(other, "host", "take")
    assert refused.returncode == 1 and f"  fake-1 {server.id}" in refused.stdout
    assert "another cloud" in other.pileus("status"), "not without being asked to"
    assert "1 guests are on this machine, 1 of them" in other.pileus("host", "take", "--yes")
    assert other.pileus("host", "take") == "the agent serves this cloud\n"
    eventually(lambda: server.id in other.pileus("guest", "list"), what="the host's report")
    assert "another cloud" not in other.pileus("status") and guest.read_text() == "1"

    refused = run(other, "guest", "adopt", "fake-1", server.id)
    assert refused.returncode == 1 and "say which is to have it" in refused.stderr
    told = other.pileus("guest", "adopt", "fake-1", server.id, "--project", "demo")
    assert re.search(r"flavor +m1.nano\nports +0 as before, 1 lost\nlost +port .* 10\.1\.0\.\d+\): Network", told)
    owner = User.login(other, "demo", other.credentials("demo")["OS_PASSWORD"], "demo")
    adopted = owner.server(server.id)
    assert (adopted["name"], adopted["status"], adopted["flavor"]["original_name"]) == ("kept", "ACTIVE", "m1.nano")
    assert "server.adopt" in other.pileus("trace", server.id)
    assert owner.act(server.id, "os-stop").status_code == 202
    assert owner.settled(server.id)["status"] == "SHUTOFF" and guest.read_text() == "4"
    owner.delete(server.id)
    assert list(guest.parent.iterdir()) == []


def test_debts_and_defects_are_shown_until_they_are_settled(other: CloudUnderTest) -> None:
    other.up()
    assert re.search(r"debts +0 open\nunknown +0 guests\n", other.pileus("status"))
    with writing(other) as session:
        debts.owe(session, "far-away", "a-server", spec.discard.owed(server_id="a-server", incarnation=1))
        session.add(operation(error={"code": "x", "message": "m", "defect": "KeyError: 'host'"}))
        session.add(operation(error={"code": "x", "message": "no defect"}))
    row = r"(\d+) +far-away +discard guest +a-server +\d+ s +[1-9]\d* +Host far-away is not connected\."
    shown = eventually(lambda: re.search(row, other.pileus("debt", "list")), what="a try")
    status = other.pileus("status")
    assert re.search(r"debts +1 open", status) and re.search(row, status)
    assert len(re.findall(r"defect +server.stop a-server, \d+ s ago: KeyError: 'host'", status)) == 1
    assert "no defect" not in status
    refused = run(other, "debt", "forget", str(int(shown[1]) + 1))
    assert refused.returncode == 1 and "there is no debt" in refused.stderr
    assert "it is shown as unknown when its host next reports" in other.pileus("debt", "forget", shown[1])
    assert other.pileus("debt", "list") == "nothing is owed\n"


def test_purge(other: CloudUnderTest) -> None:
    other.up()
    assert other.pileus("db", "purge") == "forgotten: 0 operations, 0 deleted servers\n"
    ended = utcnow() - timedelta(days=3)
    with writing(other) as session:
        session.add_all(operation(finished_at=ended) for _ in range(1200))
        session.add(operation())
    assert other.pileus("db", "purge") == "forgotten: 0 operations, 0 deleted servers\n", "90 days by themselves"
    assert other.pileus("db", "purge", "--older-than", "2") == "forgotten: 1200 operations, 0 deleted servers\n"
    assert other.query("SELECT count(*) FROM operations")[0][0] == 1
    assert run(other, "db", "purge", "--older-than", "0").returncode == 2
