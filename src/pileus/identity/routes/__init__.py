"""The URL map of identity, top to bottom."""

from pileus.identity.routes import (
    catalog,
    domains,
    grants,
    project_tags,
    projects,
    role_assignments,
    roles,
    tokens,
    users,
    versions,
)

NOUNS = (versions, tokens, domains, projects, project_tags, users, roles, grants, role_assignments, catalog)
