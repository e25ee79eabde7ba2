"""POST /servers/{id}/action (api-ref compute, Servers - run an action): each is declared beside its flow."""

from __future__ import annotations

from pileus.api import Routes
from pileus.compute.actions import ACTIONS

routes = Routes()
for one in ACTIONS:
    one.declare(routes)
