"""Identity's policy rules: Keystone's documented names and defaults."""

from __future__ import annotations

ADMIN = "rule:admin_required"
READER = "rule:admin_required or (role:reader and system_scope:all)"

RULES = {
    "admin_required": "role:admin or is_admin:1",
    "identity:check_token": "rule:admin_required or (role:reader and system_scope:all) or rule:token_subject",
    "identity:validate_token": "rule:admin_required or (role:reader and system_scope:all) or role:service"
    " or rule:token_subject",
    "identity:revoke_token": "rule:admin_required or rule:token_subject",
    "token_subject": "user_id:%(target.token.user_id)s",
    "identity:get_auth_catalog": "",
    "identity:get_auth_projects": "",
    "identity:get_auth_domains": "",
    "identity:get_auth_system": "",
}
