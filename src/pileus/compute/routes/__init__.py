"""The URL map of compute, top to bottom."""

from pileus.compute.routes import flavor_access, flavor_specs, flavors, keypairs, versions

NOUNS = (versions, flavors, flavor_access, flavor_specs, keypairs)
