"""The URL map of compute, top to bottom."""

from pileus.compute.routes import (
    aggregates,
    availability_zones,
    extensions,
    flavor_access,
    flavor_specs,
    flavors,
    hypervisors,
    keypairs,
    limits,
    quota_sets,
    services,
    versions,
)

NOUNS = (
    versions,
    extensions,
    limits,
    flavors,
    flavor_access,
    flavor_specs,
    keypairs,
    quota_sets,
    aggregates,
    availability_zones,
    services,
    hypervisors,
)
