"""The examples of a noun in docs/adding.md hold; those of an action: compute/servers/test_adding.py."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import falcon.testing
import pytest
from sqlalchemy.orm import Mapped, mapped_column

from pileus.api import Requester, Resource, Schema, Values, app
from pileus.api.filters import equals
from pileus.api.schema import TEXT, obj
from pileus.api.style import own_project
from pileus.compute.style import STYLE
from pileus.db import Base, Session, new_id, utcnow
from tests.unit.serving import Serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding.md"
NOUN, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
RULES = {f"os_compute_api:os-notes:{verb}": "role:member" for verb in ("index", "show", "create", "delete")}


@pytest.fixture
def names() -> Any:
    """What the examples take for granted."""

    class Note(Base):
        __tablename__ = "notes"
        __table_args__ = {"extend_existing": True}

        id: Mapped[str] = mapped_column(primary_key=True)
        project_id: Mapped[str]
        text: Mapped[str]
        created_at: Mapped[datetime]

    known: dict[str, Any] = {
        "Note": Note, "Requester": Requester, "Resource": Resource, "STYLE": STYLE,
        "Schema": Schema, "Session": Session, "TEXT": TEXT, "Values": Values, "equals": equals, "new_id": new_id,
        "obj": obj, "own_project": own_project, "utcnow": utcnow,
    }  # fmt: skip
    yield known
    Base.metadata.remove(Note.__table__)  # type: ignore[arg-type]
    Base.registry._dispose_cls(Note)


def test_a_noun(tmp_path: Path, names: dict[str, Any]) -> None:
    exec(compile(NOUN, str(PAGE), "exec"), names)
    serving = Serving(tmp_path)
    names["Note"].__table__.create(serving.db.engine, checkfirst=True)
    compute = next(service for service in serving.cloud.services if service.name == "compute")
    compute.routes.extend(names["routes"].routes)
    for rule, check in RULES.items():
        compute.policy.declare(rule, check)
    serving.client = falcon.testing.TestClient(app.build(serving.cloud, serving.cloud.services))
    demo, alt = (serving.user(name, "/compute/v2.1") for name in ("demo", "alt_demo"))
    made = demo("POST", "/os-notes", json={"note": {"text": "first"}}).json["note"]
    assert demo("GET", f"/os-notes/{made['id']}").json == {"note": {"id": made["id"], "text": "first"}}
    assert demo("GET", "/os-notes?text=first").json["notes"] == [made]
    assert demo("GET", "/os-notes?text=second").json["notes"] == alt("GET", "/os-notes").json["notes"] == []
    assert alt("GET", f"/os-notes/{made['id']}").status_code == 404
    assert demo("POST", "/os-notes", json={"note": {"text": 1}}).status_code == 400
    assert alt("DELETE", f"/os-notes/{made['id']}").status_code == 404
    assert demo("DELETE", f"/os-notes/{made['id']}").status_code == 204
    assert demo("GET", f"/os-notes/{made['id']}").status_code == 404
