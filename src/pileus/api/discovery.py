"""Version documents: which versions of an API there are, and where; one declaration a version.

routes = discovery(ApiVersion("v3.14", "stable", "/v3", media="application/vnd.openstack.identity-v3+json"), ...)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from pileus.api.context import Context
from pileus.api.routes import OPEN, Reply, Routes
from pileus.errors import NotFound
from pileus.jsontypes import Values


class ApiVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an API.

    Attributes:
        id, status: as clients know it. path: where it begins, below the service's prefix.
        href: of its link to itself, where that is not the URL of `path`.
        more: further fields, such as the microversions (version, min_version).
        documented: whether there is a document of its own at its path.
        reference: where to read on, a link of that document.
        media: its media type; listed: the list shows that, too.
    """

    id: str
    status: str
    path: str
    href: str | None = None
    more: Mapping[str, Any] = {}
    documented: bool = True
    reference: str = ""
    media: str = ""
    listed: bool = False

    def brief(self, ctx: Context) -> Values:
        """The version as it is listed."""
        href = ctx.url(f"{self.path}/") if self.href is None else self.href
        found: Values = {"id": self.id, "status": self.status, **self.more, "links": [{"rel": "self", "href": href}]}
        return found | (self._media() if self.listed else {})

    def view(self, ctx: Context) -> Values:
        """The version's own document."""
        found = self.brief(ctx)
        if self.reference:
            found["links"] += [{"rel": "describedby", "type": "text/html", "href": self.reference}]
        return found | self._media()

    def _media(self) -> Values:
        return {"media-types": [{"base": "application/json", "type": self.media}]} if self.media else {}


def _listed(views: Sequence[Values]) -> Values:
    return {"versions": list(views)}


def discovery(
    versions: Sequence[ApiVersion],
    *,
    status: int = 200,
    lists: Sequence[str] = (),
    named: Sequence[str] = (),
    form: Callable[[Sequence[Values]], Values] = _listed,
    headers: Callable[[Context], Mapping[str, str]] = lambda ctx: {},
) -> Routes:
    """The version documents of a service, for anybody: the list at its prefix, each documented version at its path.

    Args:
        status: of the list at the prefix: some services answer 300, Multiple Choices.
        lists: further URLs of the list, with 200.
        named: further URLs of one version, with its id as {key}; of an id that there is not they raise NotFound.
        form: the body of the list. headers: of the list at the prefix.
    """
    routes = Routes()

    def index(ctx: Context) -> Values:
        return form([version.brief(ctx) for version in versions])

    def root(ctx: Context) -> Reply:
        return Reply(index(ctx), status, headers(ctx))

    def one(version: ApiVersion) -> Callable[[Context], Values]:
        return lambda ctx: {"version": version.view(ctx)}

    def by_id(ctx: Context, key: str) -> Values:
        found = [version for version in versions if version.id == key]
        if not found:
            raise NotFound("The resource could not be found.")
        return one(found[0])(ctx)

    routes.get("", policy=OPEN, transaction=None)(root)
    for path in lists:
        routes.get(path, policy=OPEN, transaction=None)(index)
    for version in versions:
        if version.documented:
            routes.get(version.path, policy=OPEN, transaction=None)(one(version))
    for path in named:
        routes.get(path, policy=OPEN, transaction=None)(by_id)
    return routes
