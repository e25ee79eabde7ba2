"""Extensions of an API: a list that older clients read, of what is served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Unpack

from pileus.api.context import Context
from pileus.api.routes import Options, Routes
from pileus.errors import NotFound
from pileus.jsontypes import Values


def extension_urls(
    path: str, extensions: Mapping[str, Values], missing: Callable[[str], NotFound], **options: Unpack[Options]
) -> Routes:
    """The URLs of a service's extensions, which clients may be shown and cannot change.

    Args:
        path: of the list. extensions: by alias, what each shows beside it.
        missing: what a client is told that asks for another.
        options: of both routes.
    """
    routes = Routes()

    def view(alias: str) -> Values:
        return {"alias": alias, "links": [], **extensions[alias]}

    def index(ctx: Context) -> Values:
        return {"extensions": [view(alias) for alias in extensions]}

    def show(ctx: Context, alias: str) -> Values:
        if alias not in extensions:
            raise missing(alias)
        return {"extension": view(alias)}

    options["transaction"] = None
    routes.get(path, **options)(index)
    routes.get(path + "/{alias}", **options)(show)
    return routes
