"""The example of a noun in docs/adding.md holds."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import falcon.testing
import pytest

import pileus.compute
import pileus.compute.model
from pileus.api import app
from pileus.compute import policies
from pileus.db import Base
from tests.unit.serving import Serving

PAGE = Path(__file__).resolve().parents[3] / "docs" / "adding.md"
FILES = dict(re.findall(r"```python\n# (compute/[\w/]+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL))


def run(name: str, known: dict[str, Any]) -> dict[str, Any]:
    """What a file holds once it has run."""
    exec(compile(FILES[name], f"<{PAGE.name}: {name}.py>", "exec"), known)
    return known


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The noun's routes and rules, of the page's files in the order in which it has them."""
    note = run("compute/model", {"__name__": "pileus.compute.model"})["Note"]
    monkeypatch.setattr(pileus.compute.model, "Note", note, raising=False)
    rules = run("compute/policies", vars(policies) | {})["_NOTES"]
    verbs = ModuleType("pileus.compute.notes")
    run("compute/notes", vars(verbs))
    monkeypatch.setitem(sys.modules, verbs.__name__, verbs)
    monkeypatch.setattr(pileus.compute, "notes", verbs, raising=False)
    yield {"rules": rules, "routes": run("compute/routes/notes", {})["routes"], "table": note.__table__}
    Base.metadata.remove(note.__table__)
    Base.registry._dispose_cls(note)


def test_a_noun(tmp_path: Path, declared: dict[str, Any]) -> None:
    assert list(FILES) == ["compute/model", "compute/policies", "compute/notes", "compute/routes/notes"]
    serving = Serving(tmp_path)
    declared["table"].create(serving.db.engine, checkfirst=True)
    compute = next(service for service in serving.cloud.services if service.name == "compute")
    compute.routes.extend(declared["routes"].routes)
    for rule, check in declared["rules"].items():
        compute.policy.declare(rule, check)
    serving.client = falcon.testing.TestClient(app.build(serving.cloud, serving.cloud.services))
    demo, alt = (serving.user(name, "/compute/v2.1") for name in ("demo", "alt_demo"))
    answer = demo("POST", "/os-notes", json={"note": {"text": "first"}})
    assert answer.status_code == 201
    made = answer.json["note"]
    one = f"/os-notes/{made['id']}"
    assert demo("GET", one).json == {"note": {"id": made["id"], "text": "first", "tags": []}}
    assert demo("GET", "/os-notes?text=first").json["notes"] == [made]
    assert demo("GET", "/os-notes?text=second").json["notes"] == alt("GET", "/os-notes").json["notes"] == []
    assert demo("PUT", f"{one}/tags/red").status_code == 201
    assert demo("GET", "/os-notes?tags=red").json["notes"] == [made | {"tags": ["red"]}]
    assert demo("PUT", one, json={"note": {"text": "keep"}}).json["note"]["text"] == "keep"
    assert demo("DELETE", one).status_code == 409
    assert demo("PUT", one, json={"note": {"text": 1}}).status_code == 400
    for method, body in (("GET", None), ("PUT", {"note": {"text": "mine"}}), ("DELETE", None)):
        assert alt(method, one, json=body).status_code == 404
    assert demo("PUT", one, json={"note": {"text": "second"}}).status_code == 200
    assert demo("DELETE", one).status_code == 204
    assert demo("GET", one).status_code == 404
