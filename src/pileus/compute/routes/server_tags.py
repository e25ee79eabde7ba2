"""Tags of a server (api-ref compute, Server tags)."""

from __future__ import annotations

from pileus.api import Routes
from pileus.api.tag_urls import tag_urls
from pileus.api.tags import TagRules
from pileus.compute import states
from pileus.compute.model import Server
from pileus.compute.routes.servers import SERVERS

MOST, LONGEST = 50, 60


def _changeable(server: Server) -> None:
    states.require("update tags", server.id, server.vm_state, None, states.SETTLED)


routes = Routes()
tag_urls(
    SERVERS,
    TagRules(
        most=MOST,
        longest=LONGEST,
        present=204,
        located=True,
        missing="Server {key} has no tag '{tag}'",
        changeable=_changeable,
    ),
    routes,
    since="2.26",
)
