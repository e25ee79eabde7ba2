"""Faults of a lab that is only a directory: which processes are hit, and when."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from pileus import holds
from pileus.agent.daemons import lives
from pileus.cli.lab import lab
from pileus.lab import Lab, LabFailed, Plan
from pileus.lab.faults import PROCESSES, Faults
from tests.support import eventually

SUPERVISOR = """
import subprocess, sys
children = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
print(*(one.pid for one in children), flush=True)
for one in children:
    one.wait()
sys.stdin.read()
"""


def state(built: Lab, host: int) -> Path:
    return built.state(built.plan().host(host))


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "lab.json").write_bytes(msgspec.json.encode(Plan(2, "fake")))
    made = Lab(tmp_path)
    for host in made.plan().hosts:
        (made.state(host) / holds.NAME).mkdir(parents=True)
        (made.state(host) / "run").mkdir()
    yield made
    holds.watch(tmp_path)


@pytest.fixture
def children(built: Lab) -> Iterator[list[int]]:
    """A supervisor of host lab-2 with an agent and a conductor; their pids, its own first."""
    argv = [sys.executable, "-c", SUPERVISOR, "pileus"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        agent, conductor = map(int, parent.stdout.readline().split())
        folder = state(built, 2)
        (folder / "pileus.pid").write_text(str(parent.pid))
        for name, pid in (("agent", agent), ("conductor", conductor)):
            (folder / "run" / f"{name}.pid").write_text(str(pid))
        try:
            yield [parent.pid, agent, conductor]
        finally:
            for pid in (agent, conductor, parent.pid):
                if lives(pid):
                    subprocess.run(["kill", "-9", str(pid)], check=False)


def test_a_process_is_killed_and_no_other(built: Lab, children: list[int]) -> None:
    parent, agent, conductor = children
    Faults(built).kill("lab-2", "agent")
    assert [lives(pid) for pid in (parent, agent, conductor)] == [True, False, True]
    Faults(built).kill("lab-2", "supervisor")
    assert not any(map(lives, children))


def test_a_process_stands_still(built: Lab, children: list[int]) -> None:
    Faults(built).pause("lab-2", "replica")
    stat = Path(f"/proc/{children[2]}/stat")
    eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 30, "its standing still")


def test_an_older_pid_file_names_a_stranger(built: Lab, children: list[int]) -> None:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        (state(built, 2) / "run" / "agent.pid").write_text(str(stranger.pid))
        with pytest.raises(LabFailed, match="agent does not run on lab-2"):
            Faults(built).kill("lab-2", "agent")
        assert lives(stranger.pid)
        stranger.kill()


@pytest.mark.parametrize("process", PROCESSES)
def test_what_does_not_run_cannot_be_killed(built: Lab, process: str) -> None:
    with pytest.raises(LabFailed, match="does not run on lab-1"):
        Faults(built).kill("lab-1", process)


def test_a_host_must_be_the_labs(built: Lab) -> None:
    with pytest.raises(LabFailed, match="it has lab-1, lab-2"):
        Faults(built).cut("lab-3")


def test_only_a_disk_of_its_own_is_filled(built: Lab) -> None:
    with pytest.raises(LabFailed, match="--disk"):
        Faults(built).fill("lab-1")


def test_a_step_is_stood_at_while_the_fault_is_made(built: Lab) -> None:
    holds.watch(state(built, 2))
    went: list[str] = []

    def goes() -> None:
        holds.hold("copy disk:before")
        went.append("on")

    worker = threading.Thread(target=goes)
    faults = Faults(built)
    with faults.at("copy disk", faults.names, 30, worker.start) as host:
        assert (host, went) == ("lab-2", [])
    worker.join(30)
    assert went == ["on"]
    assert [list((state(built, number) / holds.NAME).iterdir()) for number in (1, 2)] == [[], []]


def test_a_step_that_nobody_comes_to_is_waited_for_no_longer(built: Lab) -> None:
    faults = Faults(built)
    with pytest.raises(LabFailed, match="nobody came to schedule:after"), faults.at("schedule:after", ["lab-1"], 0.05):
        raise AssertionError("nobody is there")
    assert list((state(built, 1) / holds.NAME).iterdir()) == []


def test_help_lists_the_faults(built: Lab) -> None:
    shown = CliRunner().invoke(lab, ["fault", "--help"]).output
    assert all(f"  {name} " in shown for name in ("cut", "slow", "kill", "pause", "fill", "heal"))
    refused = CliRunner().invoke(lab, ["fault", "kill", "lab-1", "agent", "--state", str(state(built, 1).parent)])
    assert refused.exit_code == 1 and "agent does not run on lab-1" in refused.output
