"""The URL map of compute, top to bottom."""

from pileus.compute.routes import (
    actions,
    aggregates,
    availability_zones,
    extensions,
    flavor_access,
    flavor_specs,
    flavors,
    hypervisors,
    instance_actions,
    keypairs,
    limits,
    quota_sets,
    servers,
    services,
    versions,
)

NOUNS = (
    versions,
    extensions,
    limits,
    servers,
    actions,
    instance_actions,
    flavors,
    flavor_access,
    flavor_specs,
    keypairs,
    quota_sets,
    availability_zones,
    aggregates,
    services,
    hypervisors,
)
