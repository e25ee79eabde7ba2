"""Membership's policy rules: what is asked here is guarded by a join token, not by a role."""

from __future__ import annotations

RULES = {"context_is_admin": "role:admin"}
