"""Whatever is sent, to whatever route, by whomever: the answer is never a 5xx, and comes soon.

`make fuzz` sends ten times as many; FUZZ_REQUESTS and FUZZ_SEED say how many, and which.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.databases import Databases
from tests.fuzz.run import report, run
from tests.fuzz.world import IDENTITIES, World, furnished


def test_no_request_makes_a_server_error(tmp_path: Path, databases: Databases) -> None:
    numbers = count()
    routes: set[str] = set()

    @contextmanager
    def worlds() -> Iterator[World]:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        with furnished(databases, folder) as world:
            routes.update(f"{service.name} {route.method} {route.path}" for service, route in world.routes())
            yield world

    requests, seed = int(os.environ.get("FUZZ_REQUESTS", "1000")), int(os.environ.get("FUZZ_SEED", "1"))
    result = run(worlds, seed, requests)
    print(result)
    assert (result.failures, result.slow) == (0, []), report(result)
    assert set(result.identities) == set(IDENTITIES)
    if requests >= len(routes) * 2:
        assert routes == result.routes
