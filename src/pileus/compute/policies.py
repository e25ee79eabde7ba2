"""Compute's policy rules: Nova's documented names and defaults (admin guide compute, Policy reference)."""

from __future__ import annotations

ADMIN = "rule:context_is_admin"
MEMBER = "rule:project_member_or_admin"
MANAGER = "rule:project_manager_or_admin"
READER = "rule:project_reader_or_admin"
ANYBODY = "@"
OWN_USER = "(rule:context_is_admin) or user_id:%(user_id)s"

_BASE = {
    "context_is_admin": "role:admin",
    "admin_or_owner": "is_admin:True or project_id:%(project_id)s",
    "admin_api": "is_admin:True",
    "project_manager_api": "role:manager and project_id:%(project_id)s",
    "project_member_api": "role:member and project_id:%(project_id)s",
    "project_reader_api": "role:reader and project_id:%(project_id)s",
    "service_api": "role:service",
    "project_manager_or_admin": "rule:project_manager_api or rule:context_is_admin",
    "project_member_or_admin": "rule:project_member_api or rule:context_is_admin",
    "project_reader_or_admin": "rule:project_reader_api or rule:context_is_admin",
    "service_or_admin": "rule:service_api or rule:context_is_admin",
}


def _named(prefix: str, check: str, *names: str) -> dict[str, str]:
    return {f"{prefix}:{name}": check for name in names}


_SERVERS = {
    **_named("os_compute_api:servers", READER, "index", "detail", "show", "show:flavor-extra-specs"),
    **_named(
        "os_compute_api:servers",
        ADMIN,
        "index:get_all_tenants",
        "detail:get_all_tenants",
        "allow_all_filters",
        "show:host_status",
        "show:host_status:unknown-only",
        "create:forced_host",
        "create:zero_disk_flavor",
    ),
    **_named(
        "os_compute_api:servers",
        MEMBER,
        "create",
        "create:attach_network",
        "create:trusted_certs",
        "delete",
        "update",
        "reboot",
        "rebuild",
        "rebuild:trusted_certs",
        "create_image",
        "start",
        "stop",
        "resize",
        "confirm_resize",
        "revert_resize",
    ),
    "os_compute_api:os-migrate-server:migrate": MANAGER,
    "os_compute_api:os-migrate-server:migrate:host": ADMIN,
    "os_compute_api:os-migrate-server:migrate_live": MANAGER,
    "os_compute_api:os-migrate-server:migrate_live:host": ADMIN,
    **_named("os_compute_api:servers:migrations", MANAGER, "index", "force_complete", "delete"),
    **_named("os_compute_api:servers:migrations", ADMIN, "index:host", "show"),
    "compute:servers:create:requested_destination": ADMIN,
    "network:attach_external_network": ADMIN,
    "os_compute_api:os-extended-server-attributes": ADMIN,
    "os_compute_api:os-evacuate": ADMIN,
    "os_compute_api:os-console-output": MEMBER,
    **_named("os_compute_api:os-instance-actions", READER, "list", "show"),
    **_named("os_compute_api:os-instance-actions", ADMIN, "events", "events:details"),
    **_named("os_compute_api:server-metadata", READER, "index", "show"),
    **_named("os_compute_api:server-metadata", MEMBER, "create", "update_all", "update", "delete"),
    **_named("os_compute_api:ips", READER, "index", "show"),
    **_named("os_compute_api:os-server-tags", READER, "index", "show"),
    **_named("os_compute_api:os-server-tags", MEMBER, "update", "update_all", "delete", "delete_all"),
    **_named("os_compute_api:os-attach-interfaces", READER, "list", "show"),
    **_named("os_compute_api:os-attach-interfaces", MEMBER, "create", "delete"),
    **_named("os_compute_api:os-pause-server", MEMBER, "pause", "unpause"),
    **_named("os_compute_api:os-suspend-server", MEMBER, "suspend", "resume"),
    **_named("os_compute_api:os-shelve", MEMBER, "shelve", "unshelve"),
    **_named("os_compute_api:os-shelve", ADMIN, "shelve_offload", "unshelve_to_host"),
    "os_compute_api:os-admin-password": MEMBER,
    "os_compute_api:os-admin-actions:reset_state": ADMIN,
    "os_compute_api:os-deferred-delete:force": MEMBER,
    "os_compute_api:os-security-groups:list": READER,
    **_named("os_compute_api:os-lock-server", MEMBER, "lock", "unlock"),
    "os_compute_api:os-lock-server:unlock:unlock_override": ADMIN,
}

_NOUNS = {
    **_named("os_compute_api:os-flavor-manage", ADMIN, "create", "update", "delete"),
    "os_compute_api:os-flavor-access": ADMIN,
    **_named("os_compute_api:os-flavor-access", ADMIN, "add_tenant_access", "remove_tenant_access"),
    **_named("os_compute_api:os-flavor-extra-specs", READER, "index", "show"),
    **_named("os_compute_api:os-flavor-extra-specs", ADMIN, "create", "update", "delete"),
    **_named("os_compute_api:os-keypairs", OWN_USER, "index", "create", "delete", "show"),
    "os_compute_api:limits": ANYBODY,
    "os_compute_api:limits:other_project": ADMIN,
    "os_compute_api:os-quota-sets:defaults": ANYBODY,
    **_named("os_compute_api:os-quota-sets", READER, "show", "detail"),
    **_named("os_compute_api:os-quota-sets", ADMIN, "update", "delete"),
    **_named(
        "os_compute_api:os-aggregates",
        ADMIN,
        "index",
        "show",
        "create",
        "update",
        "delete",
        "add_host",
        "remove_host",
        "set_metadata",
    ),
    **_named("os_compute_api:os-server-groups", READER, "index", "show"),
    **_named("os_compute_api:os-server-groups", MEMBER, "create", "delete"),
    "os_compute_api:os-server-groups:index:all_projects": ADMIN,
    "os_compute_api:os-availability-zone:list": ANYBODY,
    "os_compute_api:os-availability-zone:detail": ADMIN,
    "os_compute_api:os-migrations:index": MANAGER,
    **_named("os_compute_api:os-migrations", ADMIN, "index:all_projects", "index:host"),
    **_named("os_compute_api:os-services", ADMIN, "list", "update", "delete"),
    **_named(
        "os_compute_api:os-hypervisors",
        ADMIN,
        "list",
        "list-detail",
        "statistics",
        "show",
        "uptime",
        "search",
        "servers",
    ),
    "os_compute_api:extensions": ANYBODY,
}

SIGNED_IN = "pileus:signed_in"
"""For routes that the reference gives no rule of their own: flavors are for everybody who has a token."""

RULES = _BASE | _SERVERS | _NOUNS | {SIGNED_IN: ANYBODY}
