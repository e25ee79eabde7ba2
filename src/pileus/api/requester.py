"""Who asks for what a verb does: all that verbs know of a request, none of its HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol

import msgspec
from sqlalchemy import String, bindparam

from pileus.api.caller import NOBODY
from pileus.api.microversions import Number, number
from pileus.api.policy import Credentials, Policy
from pileus.errors import Forbidden, Invalid
from pileus.jsontypes import Values
from pileus.settings import Settings

PROJECT = bindparam("caller_project", type_=String())
"""The caller's project in conditions that are made once; a token without one has no row's. `Requester.parameters` says
which it is."""


class Asks(Protocol):
    """What most verbs need of a requester."""

    @property
    def request_id(self) -> str: ...

    @property
    def is_admin(self) -> bool: ...


class Itself(msgspec.Struct, frozen=True):
    """The program, where it uses a verb in nobody's name, or in that of an earlier request."""

    request_id: str = ""
    is_admin: bool = True


ITSELF = Itself()


class Requester:
    """The caller with the rights that a service's policy gives, and the request in whose name things are done.

    Attributes:
        version: the microversion that was negotiated. asked: the rules that were asked so far.
    """

    def __init__(self, policy: Policy, settings: Settings, request_id: str) -> None:
        self.settings, self.request_id = settings, request_id
        self.caller = NOBODY
        self.version: Number = (0, 0)
        self.asked: set[str] = set()
        self._policy = policy

    def at_least(self, version: str) -> bool:
        """Whether the request's microversion is `version` or newer."""
        return self.version >= number(version)

    @property
    def project_id(self) -> str:
        """`require_project`."""
        return self.require_project()

    def require_project(self) -> str:
        """The project the token is scoped to.

        Raises:
            Invalid: the token has no project.
        """
        if not self.caller.project_id:
            raise Invalid("This request needs a token that is scoped to a project.")
        return self.caller.project_id

    @property
    def own(self) -> Values:
        """What rules are asked about what is the caller's own."""
        return {"project_id": self.caller.project_id, "user_id": self.caller.user_id}

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The values of the parameters that conditions have; filters add theirs."""
        return {PROJECT.key: self.caller.project_id}

    @property
    def is_admin(self) -> bool:
        """Whether the service's own rule for administrators holds."""
        return self._credentials.is_admin

    @cached_property
    def _credentials(self) -> Credentials:
        return self._policy.credentials(self.caller)

    def allows(self, rule: str, target: Mapping[str, object] | None = None) -> bool:
        """Whether the policy lets the caller do `rule`, to a thing of its own unless `target` is given."""
        self.asked.add(rule)
        return self._policy.allows(rule, self.own if target is None else target, self._credentials)

    def require(self, rule: str, target: Mapping[str, object] | None = None) -> None:
        """Raises Forbidden unless `allows`."""
        if not self.allows(rule, target):
            raise self.refusal(rule)

    def refusal(self, rule: str) -> Forbidden:
        """What a client is told that the policy refuses."""
        return self._policy.refusal(rule)

    def rules_under(self, prefix: str) -> Mapping[str, str]:
        """The rules of the service whose names begin so, by what follows."""
        return self._policy.under(prefix)

    @property
    def rules(self) -> frozenset[str]:
        """Every rule of the service, those that the operator added among them."""
        return self._policy.names
