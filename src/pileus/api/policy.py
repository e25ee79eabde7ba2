"""Policy: oslo.policy with each service's documented rules, which an operator's policy file may change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oslo_config import cfg
from oslo_policy import opts, policy

from pileus.errors import Forbidden

if TYPE_CHECKING:
    from pileus.api.context import Caller


class Policy:
    """The rules of one service.

    Args:
        rules: rule name to check string, in oslo.policy's language.
        file: an operator's YAML file with rules that override these; need not exist.
        message: what a refused client is told; `{rule}` is the rule's name.
    """

    def __init__(self, rules: Mapping[str, str], file: Path | None, message: str) -> None:
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
        opts.set_defaults(conf)
        name = str(file) if file else "no-policy-file.yaml"
        self._enforcer = policy.Enforcer(conf, policy_file=name)
        self._enforcer.suppress_deprecation_warnings = True
        for rule, check in rules.items():
            self._enforcer.register_default(policy.RuleDefault(rule, check))
        self._enforcer.load_rules()
        self.names = frozenset(rules)
        self._message = message

    def allows(self, rule: str, target: Mapping[str, Any], caller: Caller) -> bool:
        """Whether the caller may do what `rule` guards to `target` (project_id, user_id and the like)."""
        return bool(self._enforcer.enforce(rule, dict(target), caller.policy_values()))

    def require(self, rule: str, target: Mapping[str, Any], caller: Caller) -> None:
        """Raises Forbidden unless `allows`."""
        if not self.allows(rule, target, caller):
            raise Forbidden(self._message.format(rule=rule))
