"""The URL map of the network service, top to bottom."""

from pileus.network.routes import (
    extensions,
    networks,
    ports,
    quotas,
    security_group_rules,
    security_groups,
    subnets,
    versions,
)

NOUNS = (versions, extensions, networks, subnets, ports, security_groups, security_group_rules, quotas)
