"""Replay seeds, with everything that the core logs: python -m tests.simulation SEED..."""

from __future__ import annotations

import logging
import sys

from tests.simulation import storm

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
logging.disable = lambda level: None  # type: ignore[assignment]  # show what a test run keeps quiet
for argument in sys.argv[1:]:
    print(f"seed {argument}: {storm.explain(int(argument))}")
