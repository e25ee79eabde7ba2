"""What hosts and tenants say moves no cursor of the operator's terminal, and is no markup."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import update

from pileus.agent.commands import Hardware, NumaCell, PciDevice
from pileus.cli.common import refused
from pileus.cli.host import host
from pileus.cli.status import status
from pileus.cli.trace import trace
from pileus.compute.model import Host
from pileus.db import Database, utcnow
from pileus.errors import Conflict
from pileus.operations import OperationRow, ids
from tests.unit.nouns import Nouns

CELL = NumaCell(id=0, cpus="0-7", memory_mib=16384)
CARD = PciDevice(
    address="0000:03:00.1", vendor_id="15b3", product_id="1017", class_id="020000", cell=0, driver="[red]e1000"
)
EVIL = "x\x1b]0;owned\x07\n[red]forged"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a cloud with a host, and an operation that failed, of which all texts are evil."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    nouns = Nouns(tmp_path)
    directory = nouns.serving.settings.directory
    (directory / "settings.json").write_bytes(msgspec.json.encode(nouns.serving.settings))
    with nouns.serving.db.write() as session:
        ids.make_cloud_id(session)
        session.execute(update(Host).values(hypervisor_type=EVIL))
        now, error = utcnow(), {"message": EVIL, "defect": EVIL}
        values = {"created_at": now, "finished_at": now, "state": "failed", "error": error, "arguments": {}}
        progress = {"stage": EVIL, "done": 1, "total": 2}
        session.add(OperationRow(id="o", request_id="r", kind=EVIL, subject_id="s", progress=progress, **values))
    return str(directory)


@pytest.mark.parametrize("verb", [(status,), (trace, "s")], ids=lambda verb: str(verb[0].name))
def test_verbs_print_only_what_is_printable(state: str, verb: tuple[click.Command, *tuple[str, ...]]) -> None:
    command, *arguments = verb
    shown = CliRunner().invoke(command, [*arguments, "--state", state], color=True)
    assert "owned" in shown.output and "[red]forged" in shown.output, shown
    assert shown.output.isascii() and shown.output.replace("\n", "").isprintable()
    assert not [line for line in shown.output.splitlines() if line.startswith("[red]")]


def test_what_is_refused_is_printable() -> None:
    assert refused(Conflict(EVIL)).message.isprintable()


def test_guests_of_an_agent_are_printable(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Path(state) / "agent"
    agent.mkdir(exist_ok=True)
    (agent / "cloud").write_text("another")
    said = {"report": {"hosts": [{"name": EVIL, "guests": [{"server_id": EVIL}]}]}}
    monkeypatch.setattr("pileus.operations.questions.ask", lambda *_: said)
    shown = CliRunner().invoke(host, ["take", "--state", state], color=True)
    assert "owned" in shown.output and shown.output.replace("\n", "").isprintable(), shown


def test_a_host_is_shown_with_its_hardware(state: str) -> None:
    with Database(f"sqlite:///{state}/db/pileus.db").write() as session:
        session.get_one(Host, "up").hardware = Hardware((CELL,), (CARD,))
    shown = CliRunner().invoke(host, ["show", "up", "--state", state]).output
    rows = [line.split() for line in shown.splitlines()]
    assert ["host", "up,", "up"] in rows and ["vCPUs", "0", "of", "8", "used"] in rows
    assert ["0", "0-7", "16384"] in rows
    assert ["0000:03:00.1", "15b3:1017", "020000", "0", "[red]e1000"] in rows
    assert CliRunner().invoke(host, ["show", "h9", "--state", state]).exit_code == 1
