"""Documents that routes take, made of what they declare, and the same with something in them broken."""

from __future__ import annotations

import json
import random
import re
from copy import deepcopy
from typing import Any

from pileus.api.microversions import Number, resolve
from pileus.api.resource import Resource
from pileus.api.routes import Route
from tests.fuzz import values
from tests.fuzz.values import Raw
from tests.fuzz.world import PASSWORDS, World
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

FREE_NAMES = ("a", "a", "hw:cpu_policy", "id", "owner", "protected", "tags", "min_ram", "user_id", "password_hash")
"""Names where any is free: some that mean something where what has them may end up."""

SERVER = {"name": "s", "flavorRef": "42", "imageRef": "<images>"}
USER = {"name": "demo", "domain": {"id": "default"}, "password": PASSWORDS["demo"]}
PROJECT = {"project": {"name": "demo", "domain": {"id": "default"}}}
BY_PASSWORD = {"methods": ["password"], "password": {"user": USER}}
EXAMPLES: dict[str, list[Any]] = {
    "POST /v2.1/servers": [
        {"server": SERVER | {"networks": "none"}},
        {
            "server": SERVER
            | {"networks": [{"uuid": "<networks>"}], "user_data": "QUFB", "tags": ["a"], "key_name": "key"}
        },
        {"server": SERVER | {"networks": [{"port": "<ports>"}], "metadata": {"a": "b"}, "max_count": 2}},
        {"server": SERVER | {"networks": "auto"}, "os:scheduler_hints": {"group": "<os-server-groups>"}},
    ],
    "POST /v2.1/servers/{server_id}/os-interface": [
        {"interfaceAttachment": {"net_id": "<networks>"}},
        {"interfaceAttachment": {"port_id": "<ports>"}},
    ],
    "POST /v3/auth/tokens": [
        {"auth": {"identity": BY_PASSWORD, "scope": PROJECT}},
        {"auth": {"identity": BY_PASSWORD, "scope": {"domain": {"id": "<domains>"}}}},
        {"auth": {"identity": BY_PASSWORD, "scope": {"system": {"all": True}}}},
        {"auth": {"identity": BY_PASSWORD}},
    ],
    "PUT /v2.1/flavors/{flavor_id}/os-extra_specs/{name}": [{"hw:cpu_policy": "shared"}],
    "POST /v2.0/subnets": [{"subnet": {"network_id": "<networks>", "ip_version": 4, "cidr": "10.99.0.0/24"}}],
}
"""Bodies that chance seldom makes, for routes that do much with them."""


class Documents:
    """Makes documents about what a world has."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world, self.dice = world, dice

    def an_id(self) -> str:
        """The id or name of anything that there is."""
        pools = [pool for pool in self.world.known.values() if pool]
        return self.dice.choice(self.dice.choice(pools))

    def valid(self, route: Route, version: Number | None) -> Any:
        """A document that a route takes, as far as its declaration says what that is."""
        return deepcopy(self._valid(route, version))

    def _valid(self, route: Route, version: Number | None) -> Any:
        if (examples := EXAMPLES.get(f"{route.method} {route.path}")) and self.dice.random() < 0.6:
            return self._filled(self.dice.choice(examples))
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

    def _filled(self, example: Any) -> Any:
        """An example with things that are known in the place of "<their segments>"."""
        if isinstance(example, dict):
            return {key: self._filled(inner) for key, inner in example.items()}
        if isinstance(example, list):
            return [self._filled(inner) for inner in example]
        if isinstance(example, str) and example.startswith("<"):
            return self.dice.choice(self.world.known[example[1:-1]])
        return example

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
            made[self.dice.choice(FREE_NAMES)] = self._instance(
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
        return dice.choice((*GIVEN, self.an_id()))

    def broken(self, document: Any) -> Any:
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


def encoded(document: Any) -> bytes:
    """JSON with what is Raw as it stands."""
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
    return text.encode("utf-8", "surrogatepass")


def noun_of(route: Route) -> Any:
    """The Resource whose handler a route has, if it has one."""
    for cell in route.handler.__closure__ or ():
        if isinstance(cell.cell_contents, Resource):
            return cell.cell_contents
    return None
