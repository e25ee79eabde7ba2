"""The URL map of compute, top to bottom."""

from pileus.compute.routes import (
    actions,
    flavor_access,
    flavor_specs,
    flavors,
    instance_actions,
    keypairs,
    servers,
    versions,
)

NOUNS = (versions, servers, actions, instance_actions, flavors, flavor_access, flavor_specs, keypairs)
