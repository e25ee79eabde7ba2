"""The command line: what scripts outside the repository rely on."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import openstack as sdk
import pytest

from tests.api.compute import User
from tests.api.conftest import FAKE
from tests.support import BIN, CloudUnderTest


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
    for verb in (["status"], ["openrc"], ["clouds-yaml"], ["trace", "x"], ["db", "version"], ["down"]):
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
