"""Requests drawn by a seed: a valid one is made of what the route declares, then broken in one or more places."""

from __future__ import annotations

import json
import random
import re
from copy import deepcopy
from typing import Any
from urllib.parse import quote

import msgspec

from pileus.api.microversions import Number, resolve
from pileus.api.resource import Resource
from pileus.api.routes import Route
from pileus.api.service import Service
from tests.fuzz import protocol, values
from tests.fuzz.values import Raw
from tests.fuzz.world import IDENTITIES, World
from tests.unit.nouns import SSH_KEY

GIVEN = (
    UUID := values.UNKNOWN_ID,
    "a",
    "name-1",
    "10.7.0.9",
    "10.8.0.0/24",
    "fa:16:3e:00:00:01",
    "tcp",
    "ingress",
    "1",
    "1.5",
    "2026-11-21T10:00:00Z",
    "nova",
    "host-1",
    "QUFB",
    "hw:cpu_policy",
    "default",
    "IPv4",
    "auto",
    "none",
)
"""Strings that many fields take."""
CANDIDATES = [
    *GIVEN,
    1,
    4,
    80,
    True,
    [],
    {},
    ["10.7.0.9"],
    [{"ip_address": "10.7.0.9"}],
    [{"start": "10.8.0.2", "end": "10.8.0.9"}],
    None,
]

BY_NAME = {
    "public_key": [SSH_KEY], "host": ["host-1", "host-2"], "binary": ["nova-compute"], "methods": ["password", "token"],
    "password": ["p"], "type": ["ssh", "SOFT"], "user_data": ["QUFB"], "vcpus": ["1"],
}  # fmt: skip
"""What fields of these names take."""


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
        path = route.path
        for segment, parameter in re.findall(r"([\w-]+)/\{(\w+)\}", route.path):
            pool, draw = self.world.pool(segment, parameter), self.dice.random()
            if route.method != "GET":
                pool = [one for one in pool if one not in self.world.vital]
            one = (
                quote(self.dice.choice(pool[:40]), safe="")
                if pool and draw < 0.88
                else self.dice.choice(protocol.PATHS)
            )
            path = path.replace(f"{{{parameter}}}", one, 1)
        if self.dice.random() < 0.02:
            path += self.dice.choice(("/", "//", "/%00", "/%ff", "/" + "a/" * 500, ";", "%2f"))
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
                value = self._an_id()
            else:
                value = dice.choice(values.TEXTS)[:9000]
            drawn.append(
                f"{quote(name, safe='%')}={quote(value, safe='')}"
                if dice.random() < 0.9
                else f"{name}={dice.choice(protocol.PATHS)}"
            )
        if dice.random() < 0.05:
            drawn *= 600
        return "&".join(drawn).encode("utf-8", "replace").decode("latin-1")

    def _an_id(self) -> str:
        pools = [pool for pool in self.world.known.values() if pool]
        return self.dice.choice(self.dice.choice(pools))

    # --- bodies -----------------------------------------------------------------------------------------------

    def _body(self, route: Route, version: Number | None, headers: list[tuple[str, str]]) -> bytes | None:
        dice, draw = self.dice, self.dice.random()
        if route.method in ("GET", "HEAD", "DELETE") and draw < 0.97:
            return None
        media = "application/json"
        if route.method == "PATCH" and route.path.startswith("/v2/images"):
            media = "application/openstack-images-v2.1-json-patch"
        if route.raw:
            media = "application/octet-stream"
        if draw < 0.05:
            media = dice.choice(protocol.CONTENT_TYPES)
        if media or draw < 0.02:
            headers.append(("Content-Type", media))
        if dice.random() < 0.08 or route.raw:
            return dice.choice(values.BODIES)
        document = self._valid(route, version)
        for _ in range(dice.choice((0, 1, 1, 1, 1, 2, 3))):
            document = self._broken(document)
        return encoded(document, dice)

    def _valid(self, route: Route, version: Number | None) -> Any:
        noun = noun_of(route)
        if noun is not None and (attributes := getattr(noun, "attributes", None)) and not route.action:
            return {noun.name: self._of_attributes(attributes, route.method == "POST")}
        if "quotas/" in route.path:
            return {"quota": {self.dice.choice(("port", "network", "security_group")): self.dice.choice((-1, 5, 100))}}
        if route.path == "/v2/images/{image_id}":
            return self._patches()
        document = self._instance(resolve(route.body.document, version or (0, 0))) if route.body else None
        if route.action and not (isinstance(document, dict) and route.action in document):
            return {route.action: document}
        return {} if document is None else document

    def _of_attributes(self, attributes: Any, creating: bool) -> Any:
        made = {}
        for name, attribute in attributes.items():
            allowed = attribute.post if creating else attribute.put
            if (allowed or self.dice.random() < 0.02) and (attribute.required or self.dice.random() < 0.3):
                made[name] = self._readable(name, attribute.read)
        return made

    def _readable(self, name: str, read: Any) -> Any:
        """A value that an attribute takes."""
        if name.endswith("_id") and (pool := self.world.pool("", name)):
            return self.dice.choice(pool)
        fitting = []
        for one in CANDIDATES:
            try:
                read(one)
            except Exception:
                continue
            fitting.append(one)
        return deepcopy(self.dice.choice(fitting or CANDIDATES))

    def _patches(self) -> Any:
        names = [
            "name",
            "tags",
            "visibility",
            "min_ram",
            "min_disk",
            "protected",
            "owner",
            "disk_format",
            "os_hidden",
            "locations",
            "x",
            "size",
            "id",
            "",
        ]
        made = []
        for _ in range(self.dice.choice((1, 1, 2, 5))):
            path = "/" + self.dice.choice(names)
            made.append(
                {
                    "op": self.dice.choice(("add", "replace", "remove", "move", "")),
                    "path": path,
                    "value": self.dice.choice(["a", 1, [], True]),
                }
            )
        return made

    def _instance(self, schema: Any, name: str = "") -> Any:  # one way a keyword
        """Something that a schema allows, as far as patterns are known."""
        dice = self.dice
        if schema is True or schema == {}:
            return deepcopy(dice.choice(CANDIDATES))
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return dice.choice(schema["enum"])
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._instance(dice.choice(schema[word]), name)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = dice.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            count = dice.choice((schema.get("minItems", 0), 1, 2))
            return [self._instance(schema.get("items", {}), name) for _ in range(count)]
        if kind in ("integer", "number"):
            return dice.choice((schema.get("minimum", 0), 1, schema.get("maximum", 10)))
        if kind in ("boolean", "null"):
            return dice.choice((True, False)) if kind == "boolean" else None
        return self._text(schema, name)

    def _object(self, schema: Any) -> Any:
        made = {}
        required = schema.get("required", ())
        known = schema.get("properties", {})
        likely = 0.4 if len(known) < 12 else 0.15
        for key, inner in known.items():
            if inner is not False and (key in required or self.dice.random() < likely):
                made[key] = self._instance(inner, key)
        free = schema.get("additionalProperties", True)
        if not known and free is not False:
            made[self.dice.choice(("a", "hw:cpu_policy"))] = self._instance(
                free if isinstance(free, dict) else {"type": "string"}, "a"
            )
        return made

    def _text(self, schema: Any, name: str) -> str:
        dice = self.dice
        plain = re.sub(r"(Ref|_id|_uuid)$", "", name)
        for pool in (
            self.world.known.get(f"{plain.replace('_', '-')}s"),
            self.world.known.get({"uuid": "networks", "port": "ports"}.get(name, "")),
        ):
            if pool and dice.random() < 0.9:
                return dice.choice(pool)
        if name in BY_NAME and dice.random() < 0.9:
            return dice.choice(BY_NAME[name])
        if "pattern" in schema:
            fitting = [one for one in GIVEN if fits(schema["pattern"], one)]
            return dice.choice(fitting or GIVEN)
        return dice.choice((*GIVEN, self._an_id()))

    def _broken(self, document: Any) -> Any:
        """The document with one thing changed, anywhere in it."""
        places = list(within(document, ()))
        where = self.dice.choice(places)
        how = self.dice.random()
        parent = document
        for part in where[:-1]:
            parent = parent[part]
        if not where:
            return (
                self._hostile()
                if how < 0.3 or not isinstance(document, dict)
                else {**document, self.dice.choice(values.TEXTS): self._hostile()}
            )
        if how < 0.1:
            del parent[where[-1]]
        elif how < 0.2 and isinstance(parent, dict):
            parent[self.dice.choice(values.TEXTS)] = self._hostile()
        else:
            parent[where[-1]] = self._hostile()
        return document

    def _hostile(self) -> Any:
        return deepcopy(self.dice.choice(values.VALUES if self.dice.random() < 0.55 else values.TEXTS))


def fits(pattern: str, text: str) -> bool:
    """Whether a pattern that Python knows fits."""
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True


def within(document: Any, path: tuple[Any, ...]) -> Any:
    """The places of everything in a document."""
    yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        if len(path) < 8:
            yield from within(value, (*path, key))


def encoded(document: Any, dice: random.Random) -> bytes:
    """JSON with what is Raw as it stands; sometimes cut short, or with its first key twice."""
    raws: list[str] = []

    def plain(value: Any) -> Any:
        if isinstance(value, Raw):
            raws.append(value.text)
            return f"@@{len(raws) - 1}@@"
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    text = json.dumps(plain(document))
    for number, raw in enumerate(raws):
        text = text.replace(f'"@@{number}@@"', raw)
    body = text.encode("utf-8", "surrogatepass")
    draw = dice.random()
    if draw < 0.03:
        return body[: len(body) // 2]
    if draw < 0.06 and isinstance(document, dict) and document and len(body) < 100_000:
        return b"{" + body[1:-1] + b"," + body[1:]
    return body


def noun_of(route: Route) -> Any:
    """The Resource whose handler a route has, if it has one."""
    for cell in route.handler.__closure__ or ():
        if isinstance(cell.cell_contents, Resource):
            return cell.cell_contents
    return None
