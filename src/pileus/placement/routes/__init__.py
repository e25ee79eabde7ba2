"""The URL map of placement, top to bottom. Only what reads: providers are written by the hosts' agents."""

from pileus.placement.routes import (
    allocation_candidates,
    allocations,
    inventories,
    resource_classes,
    resource_providers,
    traits,
    usages,
    versions,
)

NOUNS = (
    versions,
    resource_classes,
    resource_providers,
    inventories,
    usages,
    allocations,
    allocation_candidates,
    traits,
)
