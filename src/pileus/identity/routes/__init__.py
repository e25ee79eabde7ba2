"""The URL map of identity, top to bottom."""

from pileus.identity.routes import (
    catalog,
    domains,
    grants,
    implied_roles,
    projects,
    role_assignments,
    roles,
    tokens,
    users,
    versions,
)

NOUNS = (versions, tokens, domains, projects, users, roles, implied_roles, grants, role_assignments, catalog)
