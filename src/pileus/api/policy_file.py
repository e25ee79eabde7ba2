"""An operator's policy file: read whole or not at all.

oslo.policy takes a rule that it cannot parse for "nobody", looks a reference to no rule up in vain, and raises at every
request once the file is broken.
"""

from __future__ import annotations

import logging
from pathlib import Path

from oslo_config import cfg
from oslo_policy import policy

log = logging.getLogger(__name__)
logging.getLogger("oslo_policy._parser").disabled = True  # a traceback a rule, of which `read_rules` says all


class BadPolicyFile(ValueError):
    """The file cannot be used; says where and why."""


class Enforcer(policy.Enforcer):
    """oslo.policy's, which refuses an invalid file: when it is made by raising, later by keeping the rules it has.

    Args:
        file: need not exist. One that changes counts from the next request on, one that goes leaves its rules in force.
    """

    def __init__(self, conf: cfg.ConfigOpts, file: Path | None) -> None:
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._is_loaded = False
        self.readings = 0
        """How often the rules were read: decisions count for one reading."""
        self.is_pure = True
        """Whether what rules say follows from what they are asked with: not from another server (http: checks)."""
        super().__init__(conf, policy_file=str(file) if file else "no-policy-file.yaml")

    def load_rules(self, force_reload: bool = False) -> None:
        """Read the file if it has changed; called before every question.

        Raises:
            BadPolicyFile: at the first time, or if `force_reload`.
        """
        stamp = self._changed()
        if self._is_loaded and not force_reload and stamp in (None, self._stamp):
            return
        self._stamp = stamp
        try:
            self.rules = self._read()
            self.readings += 1
            self.is_pure = not any("http" in str(check) for check in self.rules.values())
        except BadPolicyFile as error:
            if force_reload or not self._is_loaded:
                raise
            log.error("%s; the rules stay as they were", error)
        self._is_loaded = True

    def _changed(self) -> tuple[int, int] | None:
        """What tells one state of the file from another; None where there is no file."""
        try:
            status = self._file.stat() if self._file else None
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size) if status else None

    def _read(self) -> policy.Rules:
        """The file's rules, and the defaults of all others.

        Raises:
            BadPolicyFile: see `read_rules`, or a rule refers to none, or to itself.
        """
        rules = read_rules(self._file) if self._file and self._file.exists() else policy.Rules()
        for name, default in self.registered_rules.items():
            rules.setdefault(name, default.check)
        sound = policy.Enforcer(self.conf, rules=rules, use_conf=False)
        try:
            sound.check_rules(raise_on_violation=True)
        except policy.InvalidDefinitionError as error:
            raise BadPolicyFile(f"{self._file}: {error}") from None
        return rules


def read_rules(file: Path) -> policy.Rules:
    """The rules of a file, by name.

    Raises:
        BadPolicyFile: it cannot be read, is no YAML mapping of texts, or a rule is not in oslo.policy's language.
    """
    try:
        parsed = policy.parse_file_contents(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadPolicyFile(f"{file} cannot be read: {error}") from None
    if not isinstance(parsed, dict) or not all(isinstance(name, str) for name in parsed):
        raise BadPolicyFile(f"{file} must map the names of rules to rules")
    for name, rule in parsed.items():
        if not isinstance(rule, str):
            raise BadPolicyFile(f"{file}: the rule of {name} must be a text, not {rule!r:.100}")
    rules = policy.Rules.from_dict(parsed)
    for name, check in rules.items():
        if str(check) == "!" and parsed[name].strip() != "!":
            raise BadPolicyFile(f"{file}: the rule of {name} is not understood: {parsed[name]:.100}")
    return rules
