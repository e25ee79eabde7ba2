"""Tags of a server (api-ref compute, Server tags)."""

from __future__ import annotations

from pileus.api import Resource, Style, Values
from pileus.api.context import Context
from pileus.api.tag_urls import tag_urls
from pileus.api.tags import TagRules
from pileus.compute import servers, states
from pileus.compute.model import Server

MOST, LONGEST = 50, 60
_RULE = "os_compute_api:os-server-tags:"


def _changeable(server: Server) -> None:
    states.require("update tags", server.id, server.vm_state, None, states.SETTLED)


def _view(ctx: Context, server: Server) -> Values:
    return {"id": server.id}


SERVERS = Resource(
    Server,
    "server",
    "/v2.1/servers",
    title="Instance",
    style=Style(),
    rule="os_compute_api:servers:{verb}",
    verbs={
        "index_tags": _RULE + "index",
        "replace_tags": _RULE + "update_all",
        "clear_tags": _RULE + "delete_all",
        "show_tag": _RULE + "show",
        "add_tag": _RULE + "update",
        "remove_tag": _RULE + "delete",
    },
    view=_view,
    sees=servers.visible,
)
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
    since="2.26",
)
routes = SERVERS.routes
