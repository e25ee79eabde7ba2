"""The network service's policy rules: Neutron's documented names and defaults (Neutron policy reference)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from oslo_policy import policy

ADMIN = "rule:admin_only"
MEMBER = "(rule:admin_only) or (role:member and project_id:%(project_id)s)"
READER = "(rule:admin_only) or (role:reader and project_id:%(project_id)s)"
NET_OWNER = "(rule:admin_only) or (role:member and rule:network_owner)"
NET_OWNER_READER = "(role:reader and rule:network_owner)"
ADVSVC = "rule:context_is_advsvc"


class FieldCheck(policy.Check):
    """`field:<nouns>:<attribute>=<value>`, or `=~<pattern>`: Neutron's own kind of check.

    An attribute of a parent is found under its prefix: networks' `shared` on a port is `network:shared`.
    """

    def __init__(self, kind: str, match: str) -> None:
        super().__init__(kind, match)
        nouns, _, condition = match.partition(":")
        self._field, _, value = condition.partition("=")
        self._noun = nouns.removesuffix("s")
        self._pattern = re.compile(value[1:]) if value.startswith("~") else None
        self._value: Any = {"true": True, "false": False}.get(value.lower(), value)

    def __call__(
        self, target: Mapping[str, object], creds: object, enforcer: object, current_rule: str | None = None
    ) -> bool:
        actual = target.get(f"{self._noun}:{self._field}", target.get(self._field))
        if self._pattern:
            return bool(self._pattern.match(str(actual or "")))
        return bool(actual == self._value)


policy.register("field", FieldCheck)

_BASE = {
    "context_is_admin": "role:admin",
    "context_is_advsvc": "role:advsvc",
    "owner": "tenant_id:%(tenant_id)s",
    "admin_only": "rule:context_is_admin",
    "admin_or_owner": "rule:context_is_admin or rule:owner",
    "network_owner": "tenant_id:%(network:tenant_id)s",
    "admin_or_network_owner": "rule:context_is_admin or rule:network_owner",
    "admin_owner_or_network_owner": "rule:owner or rule:admin_or_network_owner",
    "sg_owner": "tenant_id:%(security_group:tenant_id)s",
    "regular_user": "",
    "shared": "field:networks:shared=True",
    "external": "field:networks:router:external=True",
    "network_device": "field:port:device_owner=~^network:",
    "default": "rule:admin_or_owner",
}

_PROVIDER = ("provider:network_type", "provider:physical_network", "provider:segmentation_id")

_NETWORKS = {
    "create_network": MEMBER,
    "get_network": f"{READER} or rule:shared or rule:external or {ADVSVC}",
    "update_network": MEMBER,
    "delete_network": MEMBER,
    "create_network:port_security_enabled": MEMBER,
    "update_network:port_security_enabled": MEMBER,
    **{f"get_network:{name}": ADMIN for name in _PROVIDER},
    **{
        f"{verb}_network:{name}": ADMIN
        for verb in ("create", "update")
        for name in ("shared", "router:external", "is_default", *_PROVIDER)
    },
}

_SUBNETS = {
    "create_subnet": NET_OWNER,
    "get_subnet": f"{READER} or rule:shared or rule:external or {NET_OWNER_READER} or {ADVSVC}",
    "update_subnet": f"{MEMBER} or (role:member and rule:network_owner)",
    "delete_subnet": f"{MEMBER} or (role:member and rule:network_owner)",
}

_OWNER_OR_SERVICE = f"{NET_OWNER} or {ADVSVC}"

_PORTS = {
    "create_port": MEMBER,
    "create_port:device_owner": f"not rule:network_device or {_OWNER_OR_SERVICE}",
    "create_port:mac_address": _OWNER_OR_SERVICE,
    "create_port:fixed_ips": f"{_OWNER_OR_SERVICE} or rule:shared",
    "create_port:fixed_ips:ip_address": _OWNER_OR_SERVICE,
    "create_port:fixed_ips:subnet_id": f"{_OWNER_OR_SERVICE} or rule:shared",
    "create_port:port_security_enabled": _OWNER_OR_SERVICE,
    "create_port:binding:host_id": ADMIN,
    "create_port:binding:profile": ADMIN,
    "create_port:binding:vnic_type": MEMBER,
    "create_port:allowed_address_pairs": NET_OWNER,
    "create_port:allowed_address_pairs:mac_address": NET_OWNER,
    "create_port:allowed_address_pairs:ip_address": NET_OWNER,
    "get_port": f"{READER} or {NET_OWNER_READER} or {ADVSVC}",
    "get_port:binding:vif_type": ADMIN,
    "get_port:binding:vif_details": ADMIN,
    "get_port:binding:host_id": ADMIN,
    "get_port:binding:profile": ADMIN,
    "update_port": f"{MEMBER} or {ADVSVC}",
    "update_port:device_owner": f"not rule:network_device or {_OWNER_OR_SERVICE}",
    "update_port:mac_address": f"{ADMIN} or {ADVSVC}",
    "update_port:fixed_ips": _OWNER_OR_SERVICE,
    "update_port:fixed_ips:ip_address": _OWNER_OR_SERVICE,
    "update_port:fixed_ips:subnet_id": f"{_OWNER_OR_SERVICE} or rule:shared",
    "update_port:port_security_enabled": _OWNER_OR_SERVICE,
    "update_port:binding:host_id": ADMIN,
    "update_port:binding:profile": ADMIN,
    "update_port:binding:vnic_type": f"{MEMBER} or {ADVSVC}",
    "update_port:allowed_address_pairs": NET_OWNER,
    "update_port:allowed_address_pairs:mac_address": NET_OWNER,
    "update_port:allowed_address_pairs:ip_address": NET_OWNER,
    "delete_port": f"{MEMBER} or (role:member and rule:network_owner) or {ADVSVC}",
}

_SECURITY_GROUPS = {
    "create_security_group": MEMBER,
    "get_security_group": READER,
    "update_security_group": MEMBER,
    "delete_security_group": MEMBER,
    "create_security_group_rule": MEMBER,
    "get_security_group_rule": f"{READER} or (role:reader and rule:sg_owner)",
    "delete_security_group_rule": MEMBER,
}

_QUOTAS = {
    "get_quota": f"{READER}",
    "list_quota": ADMIN,
    "update_quota": ADMIN,
    "delete_quota": ADMIN,
}

_TAGS = {
    f"{verb}_{nouns}_tags": READER if verb == "get" else MEMBER
    for verb in ("get", "update", "delete")
    for nouns in ("networks", "subnets", "ports", "security_groups", "security_group_rules")
}

RULES = {**_BASE, **_NETWORKS, **_SUBNETS, **_PORTS, **_SECURITY_GROUPS, **_QUOTAS, **_TAGS}
