"""Identity's policy rules: Keystone's documented names and defaults."""

from __future__ import annotations

ADMIN = "rule:admin_required"
READER = "rule:admin_required or (role:reader and system_scope:all)"


def _reader(*others: str) -> str:
    """Admins, readers of the whole system, and `others`."""
    return " or ".join((READER, *others))


def _manager(*conditions: str) -> str:
    """Admins, and managers of the domain that all `conditions` are about."""
    return f"{ADMIN} or (role:manager and {' and '.join(conditions)})"


def _domain_reader(of: str) -> str:
    return f"(role:reader and domain_id:%({of})s)"


USER_DOMAIN, PROJECT_DOMAIN = "domain_id:%(target.user.domain_id)s", "domain_id:%(target.project.domain_id)s"
TARGET_DOMAIN = "domain_id:%(target.domain.id)s"
GRANT_WITHIN_DOMAIN = f"{USER_DOMAIN} and ({PROJECT_DOMAIN} or {TARGET_DOMAIN})"
GRANT_READER = _reader(f"(role:reader and {GRANT_WITHIN_DOMAIN})")
GRANT_MANAGER = _manager(GRANT_WITHIN_DOMAIN, "rule:domain_managed_target_role")
PROJECT_READER = _reader(_domain_reader("target.project.domain_id"), "project_id:%(target.project.id)s")
ROLE_READER = _reader("(role:manager and not domain_id:None)")

TOKENS = {
    "identity:check_token": f"{READER} or rule:token_subject",
    "identity:validate_token": f"{READER} or role:service or rule:token_subject",
    "identity:revoke_token": f"{ADMIN} or rule:token_subject",
    "identity:get_auth_catalog": "",
    "identity:get_auth_projects": "",
    "identity:get_auth_domains": "",
    "identity:get_auth_system": "",
}
PROJECTS = {
    "identity:get_project": PROJECT_READER,
    "identity:list_projects": _reader(_domain_reader("target.domain_id")),
    "identity:list_user_projects": _reader(_domain_reader("target.user.domain_id"), "user_id:%(target.user.id)s"),
    "identity:create_project": _manager(PROJECT_DOMAIN),
    "identity:update_project": _manager(PROJECT_DOMAIN),
    "identity:delete_project": _manager(PROJECT_DOMAIN),
    "identity:list_project_tags": PROJECT_READER,
    "identity:get_project_tag": PROJECT_READER,
    "identity:update_project_tags": _manager(PROJECT_DOMAIN),
    "identity:create_project_tag": _manager(PROJECT_DOMAIN),
    "identity:delete_project_tag": _manager(PROJECT_DOMAIN),
    "identity:delete_project_tags": _manager(PROJECT_DOMAIN),
}
USERS = {
    "identity:get_user": _reader(_domain_reader("target.user.domain_id"), "user_id:%(target.user.id)s"),
    "identity:list_users": _reader(_domain_reader("target.domain_id")),
    "identity:create_user": _manager(USER_DOMAIN),
    "identity:update_user": _manager(USER_DOMAIN),
    "identity:delete_user": _manager(USER_DOMAIN),
}
DOMAINS = {
    "identity:get_domain": _reader("domain_id:%(target.domain.id)s", "project_domain_id:%(target.domain.id)s"),
    "identity:list_domains": _reader(_domain_reader("target.domain_id")),
    "identity:create_domain": ADMIN,
    "identity:update_domain": ADMIN,
    "identity:delete_domain": ADMIN,
}
ROLES = {
    "identity:get_role": ROLE_READER,
    "identity:list_roles": ROLE_READER,
    "identity:create_role": ADMIN,
    "identity:update_role": ADMIN,
    "identity:delete_role": ADMIN,
    "identity:get_domain_role": _reader(_domain_reader("target.role.domain_id")),
    "identity:list_domain_roles": _reader(_domain_reader("target.domain_id")),
    "identity:create_domain_role": ADMIN,
    "identity:update_domain_role": ADMIN,
    "identity:delete_domain_role": ADMIN,
    "identity:get_implied_role": READER,
    "identity:check_implied_role": READER,
    "identity:list_implied_roles": READER,
    "identity:list_role_inference_rules": READER,
    "identity:create_implied_role": ADMIN,
    "identity:delete_implied_role": ADMIN,
}
GRANTS = {
    "identity:check_grant": GRANT_READER,
    "identity:list_grants": GRANT_READER,
    "identity:create_grant": GRANT_MANAGER,
    "identity:revoke_grant": GRANT_MANAGER,
    "identity:check_system_grant_for_user": READER,
    "identity:list_system_grants_for_user": READER,
    "identity:create_system_grant_for_user": ADMIN,
    "identity:revoke_system_grant_for_user": ADMIN,
    "identity:list_role_assignments": _reader(_domain_reader("target.domain_id")),
}
CATALOG = {
    "identity:get_service": READER,
    "identity:list_services": READER,
    "identity:get_endpoint": READER,
    "identity:list_endpoints": READER,
    "identity:get_region": "",
    "identity:list_regions": "",
}
RULES = {
    "admin_required": "role:admin or is_admin:1",
    "token_subject": "user_id:%(target.token.user_id)s",
    "domain_managed_target_role": "'manager':%(target.role.name)s or 'member':%(target.role.name)s"
    " or 'reader':%(target.role.name)s",
    **TOKENS, **PROJECTS, **USERS, **DOMAINS, **ROLES, **GRANTS, **CATALOG,
}  # fmt: skip
NOT_FOR_DOMAINS = frozenset(
    {
        *(f"identity:{verb}_{noun}" for verb in ("create", "update", "delete") for noun in ("domain", "role")),
        *(rule for rule in ROLES if "implied" in rule or "inference" in rule),
        *(rule for rule in GRANTS if "system_grant" in rule),
        *(rule for rule in CATALOG if "region" not in rule),
    }
)
"""Rules about the whole system: a token for a domain does not do, whatever its role (Keystone's scope types)."""
