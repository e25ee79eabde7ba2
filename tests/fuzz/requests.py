"""Requests drawn by a seed: a valid one is made of what the route declares, then broken in one or more places."""

from __future__ import annotations

import random
import re
from urllib.parse import quote

import msgspec

from pileus.api.microversions import Number, resolve
from pileus.api.routes import Route
from pileus.api.service import Service
from tests.fuzz import protocol, values
from tests.fuzz.documents import Documents, encoded, noun_of
from tests.fuzz.world import IDENTITIES, World


class Request(msgspec.Struct):
    """A request, as it is sent."""

    who: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes | None
    route: str


class Drawer:
    """Draws requests.

    Args:
        seed: the same one draws the same requests, of the same world.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.dice = world, random.Random(seed)
        self.documents = Documents(world, self.dice)
        self.routes = world.routes()
        self.dice.shuffle(self.routes)

    def draw(self, number: int) -> Request:
        """Every route comes up as often as the others."""
        service, route = self.routes[number % len(self.routes)]
        dice = self.dice
        who = dice.choice(IDENTITIES) if dice.random() < 0.4 else dice.choice(("admin", "member"))
        version = self._version(service, route)
        headers = self._headers(service, version)
        if token := self.world.tokens[who]:
            headers.append(("X-Auth-Token", token))
        body = self._body(route, version, headers)
        for _ in range(dice.choice((0, 0, 0, 0, 1, 2))):
            headers.append(dice.choice(protocol.HEADERS))
        method = route.method if dice.random() < 0.97 else dice.choice(protocol.METHODS)
        target = service.prefix + self._path(route)
        if dice.random() < (0.6 if route.method == "GET" else 0.1):
            target += "?" + self._query(route, version)
        return Request(who, method, target, headers, body, f"{service.name} {route.method} {route.path}")

    # --- parts ------------------------------------------------------------------------------------------------

    def _version(self, service: Service, route: Route) -> Number | None:
        if service.history is None:
            return None
        fitting = [one.number for one in service.history.versions if route.serves(one.number)]
        return fitting[-1] if self.dice.random() < 0.7 else self.dice.choice(fitting)

    def _headers(self, service: Service, version: Number | None) -> list[tuple[str, str]]:
        draw = self.dice.random()
        if version is None or draw < 0.03:
            return []
        if draw < 0.08:
            return [("OpenStack-API-Version", self.dice.choice(protocol.VERSIONS))]
        return [("OpenStack-API-Version", f"{service.name} {version[0]}.{version[1]}")]

    def _path(self, route: Route) -> str:
        path = self.path(route, 0.12)
        if self.dice.random() < 0.02:
            path += self.dice.choice(("/", "//", "/%00", "/%ff", "/" + "a/" * 500, ";", "%2f"))
        return path

    def path(self, route: Route, hostile: float = 0.0) -> str:
        """A route's path with things that are known, percent-encoded.

        Args:
            hostile: how likely each of them is something else.
        """
        path = route.path
        for segment, parameter in re.findall(r"([\w-]+)/\{(\w+)\}", route.path):
            pool = self.world.pool(segment, parameter)
            if route.method != "GET":
                pool = [one for one in pool if one not in self.world.vital]
            if self.dice.random() < hostile or (hostile and not pool):
                one = self.dice.choice(protocol.PATHS)
            else:
                one = quote(self.dice.choice(pool[:40] or ["t"]), safe="")
            path = path.replace(f"{{{parameter}}}", one, 1)
        return path

    def _query(self, route: Route, version: Number | None) -> str:
        """Parameters that the route knows, and others."""
        dice = self.dice
        known = list(protocol.PARAMETERS)
        if route.query:
            known += list(resolve(route.query.document, version or (0, 0)).get("properties", {})) * 3
        if noun := noun_of(route):
            known += [*noun.filters, *noun.filters, *noun.filters]
        drawn = []
        for name in dice.choices(known, k=dice.choice((1, 1, 1, 2, 3))):
            if name in ("sort_key", "fields", "sort") and noun and noun.sortable and dice.random() < 0.6:
                value = dice.choice(list(noun.sortable))
            elif name == "marker" and dice.random() < 0.5:
                value = self.documents.an_id()
            else:
                value = dice.choice(values.TEXTS)[:9000]
            drawn.append(
                f"{quote(name, safe='%')}={quote(value, safe='')}"
                if dice.random() < 0.9
                else f"{name}={dice.choice(protocol.PATHS)}"
            )
        if dice.random() < 0.05:
            drawn *= dice.choice((150, 600))
        return "&".join(drawn).encode("utf-8", "replace").decode("latin-1")

    # --- bodies -----------------------------------------------------------------------------------------------

    def _body(self, route: Route, version: Number | None, headers: list[tuple[str, str]]) -> bytes | None:
        dice, draw = self.dice, self.dice.random()
        if route.method in ("GET", "HEAD", "DELETE") and draw < 0.97:
            return None
        media = self.media(route)
        if draw < 0.05:
            media = dice.choice(protocol.CONTENT_TYPES)
        if media or draw < 0.02:
            headers.append(("Content-Type", media))
        if dice.random() < 0.08 or route.raw:
            return dice.choice(values.BODIES)
        document = self.documents.valid(route, version)
        for _ in range(dice.choice((0, 1, 1, 1, 1, 2, 3))):
            document = self.documents.broken(document)
        return torn(encoded(document), dice)

    def media(self, route: Route) -> str:
        """The content type that a route takes."""
        if route.method == "PATCH" and route.path.startswith("/v2/images"):
            return "application/openstack-images-v2.1-json-patch"
        return "application/octet-stream" if route.raw else "application/json"


def torn(body: bytes, dice: random.Random) -> bytes:
    """Sometimes cut short, or an object with every key twice."""
    draw = dice.random()
    if draw < 0.03:
        return body[: len(body) // 2]
    if draw < 0.06 and body.startswith(b'{"') and len(body) < 100_000:
        return b"{" + body[1:-1] + b"," + body[1:]
    return body
