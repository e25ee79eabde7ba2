"""A cloud in this process with something of every kind in it, and eight identities that ask it."""

from __future__ import annotations

import io
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults

import msgspec
from sqlalchemy import delete

from pileus.api.routes import Route
from pileus.api.service import Service
from pileus.bootstrap import first_start
from pileus.cloud import Cloud
from pileus.compute import flavors
from pileus.compute.model import Server
from pileus.compute.snapshots import ImageSnapshot
from pileus.compute.states import ACTIVE, ERROR, STOPPED
from pileus.db import Database, Session, new_id, utcnow
from pileus.network.model import Port
from pileus.operations.model import SubjectRow
from pileus.operations.questions import Questions
from pileus.settings import Settings
from tests.client import login
from tests.databases import Databases, migrated
from tests.unit.nouns import SSH_KEY, Nouns

PASSWORDS = {"admin": "admin-word", "demo": "demo-word", "alt_demo": "alt-word"}
"""Such as chance does not find."""
IDENTITIES = ("nobody", "admin", "member", "stranger", "reader", "service", "system", "other domain")
"""No token; the administrator; a member of project demo, of another one; a reader of demo; a service's user; the
administrator with a token for the system; the manager of another domain, with a token for it."""

OTHERWISE = {"implied_role_id": "roles", "consumer_id": "servers", "member_id": "projects"}
"""Parameters of paths that are another noun's id."""


class Answer(msgspec.Struct):
    """A response. `crashed`: the application raised instead of answering."""

    status: int
    headers: dict[str, str]
    body: bytes
    crashed: BaseException | None = None

    def json(self) -> Any:
        return msgspec.json.decode(self.body) if self.body else None


class Silent(Questions):
    """No agent runs: what only an agent knows is answered by "has nothing"."""

    def __init__(self) -> None:
        pass

    def ask(self, question: str, **query: Any) -> Any:
        return {"output": "", "interfaces": [], "nodes": [], "uptime": None}

    def tell(self, question: str, **body: Any) -> Any:
        return {}


def as_first_started(db: Database) -> None:
    """A cloud that nobody has used."""
    migrated(db)
    first_start(Cloud(Settings(state="/nowhere", bcrypt_rounds=4), db), PASSWORDS)


class Known:
    """What is known of a cloud.

    Attributes:
        tokens: by identity. own: the ids of the project, the user and the domain that a token stands for.
        projects: their ids by name.
        known: ids and names by the URL segment under which they are. private: those that are project demo's alone.
        vital: what nobody must lose who is to go on asking.
    """

    tokens: dict[str, str | None]
    own: dict[str, set[str]]
    projects: dict[str, str]
    known: dict[str, list[str]]
    private: set[str]
    vital: frozenset[str]


def as_furnished(db: Database) -> None:
    """A cloud with something of every kind in it. What is known of it, and its files, are kept for those on copies."""
    as_first_started(db)
    with TemporaryDirectory() as folder:
        world = World(Path(folder), db)
        world.furnish()
        files = {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    _FIRST[:] = [({name: getattr(world, name) for name in Known.__annotations__}, files)]


_FIRST: list[tuple[dict[str, Any], dict[Path, bytes]]] = []
"""What is known of this run's furnished cloud, and its files."""


@contextmanager
def furnished(databases: Databases, directory: Path) -> Iterator[World]:
    """A world of one's own; all were made once, and copied."""
    with databases.copy(as_furnished, directory / "pileus.db") as db:
        [(known, files)] = _FIRST
        for path, content in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(content)
        world = World(directory, db)
        vars(world).update(deepcopy(known))
        yield world


class World(Known):
    """The cloud, and its application."""

    def __init__(self, directory: Path, db: Database) -> None:
        self.db = db
        self.cloud = Cloud(Settings(state=str(directory), bcrypt_rounds=4, max_page=50), db)
        self.cloud._parts[Questions] = Silent()
        self._application = self.cloud.application()

    def furnish(self) -> None:
        """Have eight identities log in, and make something of every kind."""
        self.tokens, self.own = {"nobody": None}, {"nobody": set()}
        self.private, self.known = set(), defaultdict(list)
        self._people()
        self.vital = self._identity()
        self._things()
        self.harvest()
        self.tag()
        self.harvest()

    # --- requests ---------------------------------------------------------------------------------------------

    def send(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
    ) -> Answer:
        """One request, as a server hands it on: `target` is percent-encoded, headers hold latin-1."""
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "wsgi.input": io.BytesIO(body or b""),
            "wsgi.errors": sys.stderr,
        }
        if body is not None:
            environ["CONTENT_LENGTH"] = str(len(body))
        for name, value in headers:
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        setup_testing_defaults(environ)
        begun: list[Any] = []
        try:
            chunks = self._application(environ, lambda status, headers, *_: begun.extend((status, headers)))
            raw = b"".join(chunks)
        except Exception as error:
            return Answer(500, {}, b"", error)
        return Answer(int(begun[0].split()[0]), {name.lower(): value for name, value in begun[1]}, raw)

    def ask(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """A well-formed request of one of the identities, at the newest version."""
        given = [("OpenStack-API-Version", f"{name} latest") for name in ("compute",) if path.startswith(f"/{name}")]
        if path.startswith("/placement"):
            given = [("OpenStack-API-Version", "placement latest")]
        if token := self.tokens[who]:
            given.append(("X-Auth-Token", token))
        raw = None
        if body is not None:
            raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
            headers.setdefault("Content_Type", "application/json")
        return self.send(method, path, [*given, *headers.items()], raw)

    def make(self, who: str, path: str, body: Any) -> Any:
        """What was created, out of its envelope."""
        answer = self.ask(who, "POST", path, body)
        assert answer.status < 300, answer.body
        made = answer.json()
        return next(iter(made.values())) if len(made) == 1 else made

    def settle(self) -> None:
        """Nobody carries operations out here: those that were begun end, without effect."""
        with self.db.write() as session:
            session.execute(delete(SubjectRow))

    # --- who and what there is --------------------------------------------------------------------------------

    def log_in(self, who: str, name: str, password: str, scope: Any = None, domain: str = "default") -> None:
        body = login(name, password, scope)
        body["auth"]["identity"]["password"]["user"]["domain"] = {"id": domain}
        answer = self.send(
            "POST", "/identity/v3/auth/tokens", [("Content-Type", "application/json")], msgspec.json.encode(body)
        )
        assert answer.status == 201, answer.body
        self.tokens[who] = answer.headers["x-subject-token"]
        token = answer.json()["token"]
        self.own[who] = {token[kind]["id"] for kind in ("project", "user", "domain") if kind in token}

    def _identity(self) -> frozenset[str]:
        """What the eight rely on: without it nobody gets in any more."""
        found = set()
        for plural in ("users", "projects", "domains", "roles"):
            found |= {one["id"] for one in self.ask("admin", "GET", f"/identity/v3/{plural}").json()[plural]}
        return frozenset(found)

    def _people(self) -> None:
        self.log_in("admin", "admin", PASSWORDS["admin"])
        self.log_in("member", "demo", PASSWORDS["demo"])
        self.log_in("stranger", "alt_demo", PASSWORDS["alt_demo"])
        self.log_in("system", "admin", PASSWORDS["admin"], {"system": {"all": True}})
        roles = {one["name"]: one["id"] for one in self.ask("admin", "GET", "/identity/v3/roles").json()["roles"]}
        projects = self.ask("admin", "GET", "/identity/v3/projects").json()["projects"]
        self.projects = {one["name"]: one["id"] for one in projects}
        domain = self.make("admin", "/identity/v3/domains", {"domain": {"name": "other"}})["id"]
        for name, place, role in (
            ("reader", f"projects/{self.projects['demo']}", "reader"),
            ("service", f"projects/{self.projects['service']}", "service"),
            ("other", f"domains/{domain}", "manager"),
        ):
            home = domain if name == "other" else "default"
            values = {"name": name, "password": "p", "domain_id": home}
            user = self.make("admin", "/identity/v3/users", {"user": values})["id"]
            path = f"/identity/v3/{place}/users/{user}/roles/{roles[role]}"
            assert self.ask("admin", "PUT", path).status == 204
        with self.db.write() as session:
            for number, name in enumerate(("host-1", "host-2"), 1):
                Nouns.add_host(session, number, name, 0)
        self.log_in("reader", "reader", "p", "demo")
        self.log_in("service", "service", "p", "service")
        self.log_in("other domain", "other", "p", {"domain": {"id": domain}}, domain)

    def _things(self) -> None:
        """Something of each kind, of project demo or of nobody."""
        network = self.make("member", "/network/v2.0/networks", {"network": {"name": "n"}})["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.7.0.0/16"}
        self.make("member", "/network/v2.0/subnets", {"subnet": subnet})
        ports = [self.make("member", "/network/v2.0/ports", {"port": {"network_id": network}}) for _ in range(9)]
        self.make("member", "/network/v2.0/security-groups", {"security_group": {"name": "g"}})
        self.make(
            "member", "/compute/v2.1/os-keypairs", {"keypair": {"name": "key", "public_key": SSH_KEY, "type": "ssh"}}
        )
        self.make("member", "/compute/v2.1/os-server-groups", {"server_group": {"name": "g", "policy": "affinity"}})
        image = {"disk_format": "raw", "container_format": "bare", "name": "i"}
        for visibility in ("private", "shared", "public"):
            who = "admin" if visibility == "public" else "member"
            made = self.make(who, "/image/v2/images", image | {"visibility": visibility})["id"]
            sent = self.ask(
                who, "PUT", f"/image/v2/images/{made}/file", bytes(512), Content_Type="application/octet-stream"
            )
            assert sent.status == 204, sent.body
            if visibility == "shared":
                self.make(who, f"/image/v2/images/{made}/members", {"member": self.projects["alt_demo"]})
        self.make("admin", "/compute/v2.1/os-aggregates", {"aggregate": {"name": "a"}})
        flavor = {"name": "private", "ram": 64, "vcpus": 1, "disk": 0, "os-flavor-access:is_public": False}
        flavor = self.make("admin", "/compute/v2.1/flavors", {"flavor": flavor})["id"]
        self.ask(
            "admin",
            "POST",
            f"/compute/v2.1/flavors/{flavor}/os-extra_specs",
            {"extra_specs": {"hw:cpu_policy": "shared"}},
        )
        for name in ("user", "project", "role", "domain"):
            for number in range(3):
                values = {"name": f"victim-{number}"} | ({"password": "p"} if name == "user" else {})
                self.make("admin", f"/identity/v3/{name}s", {name: values})
        with self.db.write() as session:
            for number, port in enumerate(ports, 1):
                server = self.a_server(session, number)
                found = session.get_one(Port, port["id"])
                found.device_id, found.device_owner, found.server_id = server.id, "compute:nova", server.id

    def a_server(self, session: Session, number: int) -> Server:
        """A server of project demo's, as its boot would have left it."""
        now = utcnow()
        server = Server(
            id=new_id(), number=number, name=f"s{number}", hostname="s", project_id=self.projects["demo"], user_id="u",
            reservation_id="r", vm_state=(ACTIVE, STOPPED, ERROR)[number % 3], power_state=1, host="host-1",
            incarnation=1, flavor=flavors.snapshot(flavors.named(session, "m1.micro")),
            image=ImageSnapshot(), networks=[], security_groups=[], created_at=now, updated_at=now,
            launched_at=now, metadata_={"a": "1"},
        )  # fmt: skip
        session.add(server)
        session.flush()
        return server

    def harvest(self) -> None:
        """Learn what there is from every list that the member and the administrator are shown; what is the member's
        alone comes first, so that it is what routes are asked about."""
        self.known.clear()
        for who in ("member", "member", "admin"):  # twice: lists below what the first round found
            for service, route in self.routes():
                if route.method == "GET" and (path := self.fill(route)) is not None:
                    self._harvest(who, f"{service.prefix}{path}")
            for pool in self.known.values():
                pool.sort(key=lambda one: one not in self.private)

    def _harvest(self, who: str, path: str) -> None:
        answer = self.ask(who, "GET", path)
        if answer.status != 200 or not answer.body.startswith(b"{"):
            return
        segment = path.rstrip("/").removesuffix("/detail").rpartition("/")[2]
        for name, value in answer.json().items():
            items = value if isinstance(value, list) else value if name in ("metadata", "extra_specs") else ()
            found = [one for one in map(name_of, items) if one and one not in self.known[segment]]
            self.known[segment] += found
            if who == "member" and isinstance(value, list):
                self.private |= {name for item in items if self._is_private(item) and (name := name_of(item))}

    def _is_private(self, item: Any) -> bool:
        """Whether what a list shows is of project demo, and nobody else is meant to see it."""
        if not isinstance(item, dict):
            return False
        owner = item.get("project_id") or item.get("tenant_id") or item.get("owner")
        return (
            owner == self.projects["demo"] and item.get("visibility", "private") == "private" and not item.get("shared")
        )

    def tag(self) -> None:
        """Give what may have tags one."""
        for service, route in self.routes():
            if route.path.endswith("/tags/{tag}") and route.method == "PUT":
                for segment in re.findall(r"([\w-]+)/\{\w+\}/tags", route.path):
                    for key in self.known[segment]:
                        path = re.sub(r"\{\w+\}/tags/\{tag\}", f"{key}/tags/t", route.path)
                        self.ask("admin", "PUT", service.prefix + path)

    def fill(self, route: Route, invented: str | None = None) -> str | None:
        """The route's path with the first thing that is known of each kind, or with what is `invented`."""
        path = route.path
        for found in re.finditer(r"([\w-]+)/\{(\w+)\}", route.path):
            pool = self.pool(found[1], found[2]) or ([invented] if invented is not None else [])
            if not pool:
                return None
            path = path.replace(f"{{{found[2]}}}", pool[0], 1)
        return path

    def pool(self, segment: str, parameter: str) -> list[str]:
        """What may stand for a path's parameter."""
        plural = parameter.removesuffix("_id").replace("_", "-") + "s"
        kinds = (OTHERWISE.get(parameter, ""), segment, plural)
        return next((self.known[kind] for kind in kinds if self.known.get(kind)), [])

    def routes(self) -> list[tuple[Service, Route]]:
        """Every route of the URL map."""
        return [(service, route) for service in self.cloud.services for route in service.routes]


def name_of(item: Any) -> str | None:
    """What tells an item of a list in URLs."""
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and len(item) == 1 and isinstance(inner := next(iter(item.values())), dict):
        item = inner
    if not isinstance(item, dict):
        return None
    found = next((item[key] for key in ("id", "uuid", "request_id", "member_id", "name") if item.get(key)), None)
    return None if found is None else str(found)
