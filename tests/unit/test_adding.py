"""The example of an action in docs/adding.md holds; that of a noun: api/test_adding.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pileus.api import Routes
from pileus.compute import servers, spec
from pileus.compute.action import action
from pileus.compute.states import ACTIVE, PAUSED
from pileus.operations import Operation

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding.md"
*_, ACTION = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def names() -> Any:
    """What the examples take for granted."""

    return {
        "Operation": Operation, "ACTIVE": ACTIVE, "PAUSED": PAUSED, "action": action, "servers": servers, "spec": spec,
    }  # fmt: skip


def test_an_action(names: dict[str, Any]) -> None:
    exec(compile(ACTION, str(PAGE), "exec"), names)
    nap, routes = names["nap"], Routes()
    nap.declare(routes)
    (route,) = routes.routes
    assert (route.path, route.action, route.policy) == (
        "/v2.1/servers/{server_id}/action", "os-nap", "os_compute_api:os-nap",
    )  # fmt: skip
    assert (nap.kind.name, nap.kind.task_state, nap.transition.then) == ("server.nap", "napping", "paused")
    assert nap.arguments("s", seconds=2.0).values == {"server_id": "s", "seconds": 2.0}
    with pytest.raises(TypeError):
        nap.arguments("s", minutes=2.0)
