"""The steps that the control plane takes when a server moves and nothing fails, as the journal and the trace name them.

tests/unit/compute/servers/test_steps.py compares them with the journal.
"""

from __future__ import annotations

STEPS = {
    "resize": (
        "schedule", "migrate disk and power off", "move server", "bind ports", "finish on destination", "record state"
    ),
    "confirm": ("begin confirm", "confirm on source", "release source"),
    "revert": ("begin revert", "destroy on destination", "move back", "finish on source", "record state"),
    "shelve": (
        "power off", "begin image", "snapshot guest", "publish image", "record state", "find host", "discard guest",
        "leave host",
    ),
    "unshelve": ("schedule", "bind ports", "build guest", "record state"),
    "live": (
        "schedule", "prepare source", "prepare destination", "bind ports", "migrate", "leave source", "move server",
        "run on destination", "discard guest", "record state",
    ),
    "evacuate": ("schedule", "prepare guest", "fence source", "take over guest", "record state"),
}  # fmt: skip
