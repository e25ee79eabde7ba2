"""Policy: oslo.policy with each service's documented rules, which an operator's policy file may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from oslo_config import cfg
from oslo_policy import opts, policy

from pileus.api.caller import Caller
from pileus.api.policy_file import Enforcer
from pileus.errors import Forbidden
from pileus.jsontypes import Values

MOST = 1000
"""Callers that are remembered, and decisions about each."""
MOST_DECISIONS, LONGEST = 10_000, 1000
"""Decisions that are remembered of all callers together, and characters that one may be about: clients choose them."""


class Credentials(msgspec.Struct, frozen=True):
    """A caller as rules see it, and of which scope its token is: rules that are not for that do not hold."""

    values: Values
    scope: str
    is_admin: bool = False
    decided: dict[tuple[Any, ...], bool] = msgspec.field(default_factory=dict)
    """What the policy said before, by rule and target."""


class Policy:
    """The rules of one service.

    Args:
        rules: rule name to check string, in oslo.policy's language.
        file: an operator's YAML file with rules that override these, or add to them; need not exist.
        message: what a refused client is told; `{rule}` is the rule's name.
        admin: the rule that tells administrators; what it says is the credential `is_admin` of all others.
        scopes: of which scopes tokens must be: project, domain, system. A token without any passes for a project's, as
            in oslo.policy.
        narrower: rules that are for fewer of them, and for which.

    Raises:
        BadPolicyFile: the file cannot be used.
    """

    def __init__(
        self,
        rules: Mapping[str, str],
        file: Path | None,
        message: str,
        admin: str,
        scopes: Iterable[str] = ("project", "domain", "system"),
        narrower: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
        opts.set_defaults(conf)
        self._enforcer = Enforcer(conf, file)
        self._enforcer.suppress_deprecation_warnings = True
        for rule, check in rules.items():
            self._enforcer.register_default(policy.RuleDefault(rule, check))
        self._enforcer.load_rules()
        self._message, self._admin, self._scopes = message, admin, frozenset(scopes)
        self._known: dict[Caller, Credentials] = {}
        self._under: dict[str, dict[str, str]] = {}
        self._reading = self._decisions = 0
        self._narrower = {rule: self._scopes & set(few) for rule, few in (narrower or {}).items()}

    def declare(self, rule: str, check: str) -> None:
        """Add a rule with its default."""
        self._enforcer.register_default(policy.RuleDefault(rule, check))
        self._enforcer.load_rules(force_reload=True)

    @property
    def names(self) -> frozenset[str]:
        """Every rule, those that the operator added among them."""
        return frozenset(self._enforcer.rules)

    def under(self, prefix: str) -> Mapping[str, str]:
        """The rules whose names begin so, by what follows."""
        _, under = self._remembered()
        if prefix not in under:
            under[prefix] = {name.removeprefix(prefix): name for name in self.names if name.startswith(prefix)}
        return under[prefix]

    @property
    def checks(self) -> dict[str, str]:
        """Every rule with its check, in oslo.policy's language."""
        return {name: str(check) for name, check in self._enforcer.rules.items()}

    def credentials(self, caller: Caller) -> Credentials:
        """What rules are asked with about a caller, by the rules as they are now."""
        self._enforcer.load_rules()
        callers, _ = self._remembered()
        known = callers.get(caller)
        if known is None:
            known = callers[caller] = self._credentials(caller)
        return known

    def _remembered(self) -> tuple[dict[Caller, Credentials], dict[str, dict[str, str]]]:
        """What is remembered of the rules as they were last read."""
        full = len(self._known) >= MOST or self._decisions >= MOST_DECISIONS
        if full or self._reading != self._enforcer.readings:
            self._reading, self._known, self._under = self._enforcer.readings, {}, {}
            self._decisions = 0
        return self._known, self._under

    def _credentials(self, caller: Caller) -> Credentials:
        values, scope = caller.policy_values(), _scope(caller)
        if scope not in self._scopes:
            return Credentials({}, scope)
        is_admin = bool(self._enforcer.enforce(self._admin, {}, values))
        return Credentials(values | {"is_admin": is_admin}, scope, is_admin)

    def allows(self, rule: str, target: Mapping[str, object], credentials: Credentials) -> bool:
        """Whether the caller may do what `rule` guards to `target` (project_id, user_id and the like)."""
        if credentials.scope not in self._narrower.get(rule, self._scopes):
            return False
        # What checks make of a value is its text, and 1 == True.
        texts = [(name, value if isinstance(value, str) else repr(value)) for name, value in target.items()]
        question = (rule, *texts)
        known = credentials.decided.get(question)
        if known is None:
            known = bool(self._enforcer.enforce(rule, dict(target), credentials.values))
            length = sum(len(name) + len(value) for name, value in texts)
            if length <= LONGEST and len(credentials.decided) < MOST and self._enforcer.is_pure:
                credentials.decided[question] = known
                self._decisions += 1
        return known

    def refusal(self, rule: str) -> Forbidden:
        """What a client is told that the policy refuses."""
        return Forbidden(self._message.format(rule=rule))


def _scope(caller: Caller) -> str:
    if caller.system:
        return "system"
    return "domain" if caller.domain_id else "project"
