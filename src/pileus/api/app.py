"""The HTTP application: every request goes through `Endpoint.__call__`, top to bottom."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext, suppress
from http import HTTPStatus
from itertools import count
from typing import Any, TypeVar

import falcon
import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pileus.api.bodies import parse_json, read_json, read_query, require_length
from pileus.api.context import Cloud, Context
from pileus.api.routes import PARAMETER, Reply, Route
from pileus.api.service import Service
from pileus.db import Contended, OutcomeUnknown, Session, is_transient, is_unfit
from pileus.errors import (
    Invalid,
    MethodNotAllowed,
    NotFound,
    PileusError,
    Unauthenticated,
    Unavailable,
)

log = logging.getLogger(__name__)
Application = falcon.App[falcon.Request, falcon.Response]
"""The WSGI callable."""
RETRIES = 3
R = TypeVar("R")


class Defect(PileusError):
    """An exception nobody expected."""


class Endpoint:
    """All verbs of one URL and method: usually one, for .../action one for each key of the body."""

    def __init__(self, cloud: Cloud, service: Service, routes: list[Route]) -> None:
        self._cloud, self._service, self._routes = cloud, service, routes
        self._is_open = all(route.is_open for route in routes)
        settings = cloud.settings
        # Who asks and what he is shown are of one moment; what is to be done before the transaction cannot be.
        self._is_reading = all(route.transaction == "read" and not route.before for route in routes)
        is_raw = any(route.raw for route in routes)
        self._most = settings.image_size_cap_bytes if is_raw else settings.max_json_body_bytes

    def __call__(self, request: falcon.Request, response: falcon.Response, **path: str) -> None:
        ctx = Context(self._cloud, self._service, request, f"req-{uuid.uuid4()}")
        try:
            require_length(request, self._most)
            self._negotiate(ctx, response)
            if self._is_reading:
                route, result = self._again(ctx, lambda: self._read(ctx, path))
            else:
                self._again(ctx, lambda: self._authenticate(ctx))
                route = self._accept(ctx, path)
                result = self._handle(ctx, route)
            self._respond(ctx, response, route, result)
        except Exception as error:
            fail(ctx, response, error)
        stamp(ctx, response)

    def _negotiate(self, ctx: Context, response: falcon.Response) -> None:
        if history := self._service.history:
            ctx.version = history.negotiate(ctx.request.headers)

    def _read(self, ctx: Context, path: dict[str, str]) -> tuple[Route, object]:
        """The route that is asked for, and what it shows."""
        with self._cloud.db.read() as ctx.session:
            self._authenticate(ctx, ctx.session)
            route = self._accept(ctx, path)
            return route, self._call(ctx, route)

    def _authenticate(self, ctx: Context, session: Session | None = None) -> None:
        """Find out who asks; a route that is OPEN does without, and does not mind a token that is void.

        Args:
            session: the transaction that reads it; one of its own unless given.
        """
        token = ctx.request.get_header("X-Auth-Token")
        if self._is_open:
            return
        if not token:
            raise Unauthenticated("The request you have made requires authentication.")
        with nullcontext(session) if session else self._cloud.db.read() as reading:
            ctx.speak_for(self._cloud.authenticate(reading, token))

    def _accept(self, ctx: Context, path: dict[str, str]) -> Route:
        """The route that is asked for, once it is known to fit the request."""
        route = self._select(ctx)
        ctx.path = {name: path[f"_{place}"] for place, name in enumerate(route.parameters)}
        if any("\0" in value for value in ctx.path.values()):
            raise NotFound("The resource could not be found: nothing has a NUL character in its name.")
        ctx.query = read_query(ctx.request.query_string)
        if route.query:
            flat = {name: values[0] if len(values) == 1 else values for name, values in ctx.query.items()}
            route.query.check(flat, ctx.version)
        if not route.is_open and not route.deferred:
            ctx.require(route.rules[0])
        return route

    def _select(self, ctx: Context) -> Route:
        routes = [route for route in self._routes if route.serves(ctx.version)]
        if not routes:
            raise NotFound("The resource could not be found.")
        if not routes[0].raw and (routes[0].action or routes[0].body):
            ctx.raw = read_json(ctx.request, self._cloud.settings.max_json_body_bytes)
            ctx.body = parse_json(ctx.raw)
        if not routes[0].action:
            return routes[0]
        if not isinstance(ctx.body, dict) or len(ctx.body) != 1:
            raise Invalid("The body must have exactly one key: the action.")
        name = next(iter(ctx.body))
        for route in routes:
            if route.action == name and (route.fits is None or route.fits(ctx.body[name])):
                return route
        raise Invalid(f"There is no such action: {name}")

    def _handle(self, ctx: Context, route: Route) -> object:
        if route.body:
            route.body.check(ctx.body, ctx.version)
        attempts = count()

        def attempt() -> object:
            if next(attempts) and ctx.raw is not None:
                ctx.body = parse_json(ctx.raw)  # what an earlier attempt made of it is not what was sent
            return self._attempt(ctx, route)

        # A body that the handler reads as it arrives is there once.
        return self._again(ctx, attempt, 1 if route.raw else RETRIES)

    def _attempt(self, ctx: Context, route: Route) -> object:
        db = self._cloud.db
        if route.before:
            route.before(ctx, **ctx.path)
        prepared = {}
        if route.prepare:
            with db.read() as ctx.session:
                prepared = {"prepared": route.prepare(ctx, **_arguments(ctx, route))}
        with ExitStack() as stack:
            if route.transaction:
                # A request that may have been committed is not run again: that is found out.
                begin = db.write(certain=True) if route.transaction == "write" else db.read()
                ctx.session = stack.enter_context(begin)
            if route.lock:
                ctx.session.lock(route.lock)
            return self._call(ctx, route, **prepared)

    def _call(self, ctx: Context, route: Route, **prepared: object) -> object:
        result = route.handler(ctx, **_arguments(ctx, route), **prepared)
        if not route.is_open and ctx.asked.isdisjoint(route.rules):
            raise Defect(f"{route.method} {route.path} answers without having asked {route.policy}")
        return result

    def _again(self, ctx: Context, attempt: Callable[[], R], times: int = RETRIES) -> R:
        """What an attempt comes to: the first, of so many, that the database does not spoil.

        Raises:
            Unavailable: it spoils all of them. Invalid: a value does not fit it. What the attempt raises.
        """
        for _ in range(times):
            try:
                return attempt()
            except OutcomeUnknown as error:
                raise Unavailable(f"{error} Look what came of it before you ask again.") from error
            except (DBAPIError, Contended, OverflowError) as error:
                method, where = ctx.request.method, ctx.request.path
                if is_unfit(error):
                    log.warning("%s %s: a value does not fit: %s", method, where, type(error).__name__)
                    raise Invalid("The request holds a value that cannot be kept or compared.") from None
                if not is_transient(error):
                    raise
                log.warning("%s %s: the database failed: %s", method, where, error)
        raise Unavailable("The database does not answer; ask again.")

    def _respond(self, ctx: Context, response: falcon.Response, route: Route, result: object) -> None:
        reply = result if isinstance(result, Reply) else Reply(result)
        status = reply.status or route.success(ctx.version)
        response.status = status_line(status)
        if reply.stream is not None:
            response.stream = reply.stream
        elif reply.body is not None:
            response.content_type = "application/json"
            response.data = msgspec.json.encode(reply.body)
        for name, value in reply.headers.items():
            response.set_header(name, value)


def _arguments(ctx: Context, route: Route) -> dict[str, Any]:
    """What a handler is called with: the path's parameters, and what of the body the schema names."""
    if route.body and route.body.key:
        return ctx.path | {argument_name(route.body.key): ctx.body[route.body.key]}
    return dict(ctx.path)


def argument_name(key: str) -> str:
    """The handler's parameter for a body's key: "os-getConsoleOutput" -> "os_getConsoleOutput"."""
    return re.sub(r"[^0-9a-zA-Z_]", "_", key)


def fail(ctx: Context, response: falcon.Response, error: Exception) -> None:
    """Turn an error into the service's own form."""
    if not isinstance(error, PileusError) or isinstance(error, Defect):
        log.exception("%s %s failed (%s)", ctx.request.method, ctx.request.path, ctx.request_id, exc_info=error)
        error = Defect("The server encountered an unexpected error.", "InternalServerError")
        status = 500
    else:
        status = ctx.service.status(error)
    response.status = status_line(status)
    if status == 401:
        response.set_header("WWW-Authenticate", f'Keystone uri="{ctx.root}/identity"')
        body: Any = {"error": {"code": 401, "title": "Unauthorized", "message": error.message}}
    else:
        body = ctx.service.error_body(status, error, ctx.request_id, ctx.version)
    response.content_type = "application/json"
    response.data = msgspec.json.encode(body)


def stamp(ctx: Context, response: falcon.Response) -> None:
    """The headers every response has."""
    response.set_header("x-openstack-request-id", ctx.request_id)
    service = ctx.service
    if service.request_id_header:
        response.set_header(service.request_id_header, ctx.request_id)
    if history := service.history:
        version = f"{ctx.version[0]}.{ctx.version[1]}" if ctx.version != (0, 0) else history.oldest.name
        response.set_header("OpenStack-API-Version", f"{history.service_type} {version}")
        vary = "OpenStack-API-Version" if history.legacy_header else "openstack-api-version"
        if history.legacy_header:
            response.set_header(history.legacy_header, version)
            vary += f", {history.legacy_header}"
        response.set_header("Vary", vary)


def status_line(status: int) -> str:
    """ "404 Not Found"."""
    return f"{status} {HTTPStatus(status).phrase}"


class Rewriter:
    """Turns other names of a service's paths into those that are routed."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = [service for service in services if service.rewrites]

    def process_request(self, request: falcon.Request, _response: falcon.Response) -> None:
        for service in self._services:
            if request.path.startswith(service.prefix + "/"):
                path = request.path[len(service.prefix) :]
                if request.env["PATH_INFO"].endswith("/"):
                    path += "/"
                for pattern, replacement in service.rewrites:
                    path = pattern.sub(replacement, path, count=1)
                request.path = service.prefix + path.removesuffix("/")


class _Resource:
    """What falcon wants at a URL: an attribute on_<method> for each method."""


def build(cloud: Cloud, services: Iterable[Service]) -> Application:
    """The WSGI application that serves all services."""
    app = falcon.App(middleware=[Rewriter(services)])
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.auto_parse_qs_csv = False
    app.resp_options.default_media_type = "application/json"
    for service in services:
        _mount(app, cloud, service)

    def lost(request: falcon.Request, response: falcon.Response, error: Exception, _params: object) -> None:
        service = next((s for s in services if request.path.startswith(s.prefix)), next(iter(services)))
        ctx = Context(cloud, service, request, f"req-{uuid.uuid4()}")
        if service.history:
            with suppress(PileusError):
                ctx.version = service.history.negotiate(request.headers)
        status = getattr(error, "status_code", 500)
        known: dict[int, PileusError] = {
            400: Invalid(f"The request is malformed: {getattr(error, 'description', None) or error}"),
            404: NotFound("The resource could not be found."),
            405: MethodNotAllowed(f"The method {request.method} is not allowed for this resource."),
        }
        fail(ctx, response, known.get(status, error))
        if isinstance(error, falcon.HTTPMethodNotAllowed):
            response.set_header("Allow", (error.headers or {}).get("Allow", ""))  # type: ignore[union-attr]
        stamp(ctx, response)

    app.add_error_handler(falcon.HTTPError, lost)
    app.add_route("/healthcheck", Health(cloud))
    return app


class Health:
    """Whether this replica can serve, for load balancers (the healthcheck middleware of OpenStack's services)."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = "text/plain; charset=UTF-8"
        try:
            with self._cloud.db.read() as session:
                session.execute(text("SELECT 1"))
        except (DBAPIError, Contended):
            response.status, response.data = status_line(503), b"the database does not answer"
        else:
            response.data = b"OK"


def streams(services: Iterable[Service]) -> Callable[[str, str], bool]:
    """Says of a method and a path whether its handler reads the body as it arrives, which may take long."""
    paths = [
        (route.method, re.compile(PARAMETER.sub("[^/]+", service.prefix + route.path) + "/?"))
        for service in services
        for route in service.routes
        if route.raw
    ]
    return lambda method, path: any(method == one and pattern.fullmatch(path) for one, pattern in paths)


def _mount(app: Application, cloud: Cloud, service: Service) -> None:
    by_path: dict[str, dict[str, list[Route]]] = {}
    for route in service.routes:
        places = count()  # a parameter may have another name below it: {key} of a noun, {image_id} of its parts
        path = PARAMETER.sub(lambda _match: f"{{_{next(places)}}}", route.path)  # noqa: B023  # called at once
        by_path.setdefault(path, {}).setdefault(route.method, []).append(route)
    for path, methods in by_path.items():
        resource = _Resource()
        for method, routes in methods.items():
            setattr(resource, f"on_{method.lower()}", Endpoint(cloud, service, routes))
        app.add_route(service.prefix + path, resource)
