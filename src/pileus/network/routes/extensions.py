"""Extensions: only those that are really served (api-ref network, Extensions)."""

from __future__ import annotations

from pileus.api.extensions import extension_urls
from pileus.errors import NotFound

EXTENSIONS: dict[str, tuple[str, str, str]] = {
    "allowed-address-pairs": ("Allowed Address Pairs", "Provides allowed address pairs", "2013-07-23"),
    "binding": (
        "Port Binding",
        "Expose port bindings of a virtual port to external application",
        "2014-02-03",
    ),
    "empty-string-filtering": (
        "Empty String Filtering Extension",
        "Allow filtering by attributes with empty string value",
        "2018-05-01",
    ),
    "external-net": (
        "Neutron external network",
        "Adds external network attribute to network resource.",
        "2013-01-14",
    ),
    "filter-validation": (
        "Filter parameters validation",
        "Provides validation on filter parameters.",
        "2018-07-04",
    ),
    "ip-substring-filtering": (
        "IP address substring filtering",
        "Provides IP address substring filtering when listing ports",
        "2017-11-28",
    ),
    "net-mtu": ("Network MTU", "Provides MTU attribute for a network resource.", "2015-03-25"),
    "net-mtu-writable": (
        "Network MTU (writable)",
        "Provides a writable MTU attribute for a network resource.",
        "2017-07-12",
    ),
    "pagination": (
        "Pagination support",
        "Extension that indicates that pagination is enabled.",
        "2016-06-12",
    ),
    "port-security": ("Port Security", "Provides port security", "2012-07-23"),
    "port-security-groups-filtering": (
        "Port filtering on security groups",
        "Provides security groups filtering when listing ports",
        "2018-01-09",
    ),
    "project-id": (
        "project_id field enabled",
        "Extension that indicates that project_id field is enabled.",
        "2016-09-09",
    ),
    "provider": ("Provider Network", "Expose mapping of virtual networks to physical networks", "2012-09-07"),
    "quota-check-limit": (
        "Quota engine limit check",
        "Compares a new limit with what is used before it is set",
        "2021-09-08",
    ),
    "quota-check-limit-default": (
        "Quota engine limit check by default",
        "Compares a new limit with what is used unless the request forces it",
        "2024-08-21",
    ),
    "quota_details": (
        "Quota details management support",
        "Expose functions for quotas usage statistics",
        "2017-02-10",
    ),
    "quotas": (
        "Quota management support",
        "Expose functions for quotas management per project",
        "2012-07-29",
    ),
    "security-group": ("security-group", "The security groups extension.", "2012-10-05"),
    "security-groups-normalized-cidr": (
        "Normalized CIDR field for security group rules",
        "Add new field with normalized remote_ip_prefix cidr in SG rule",
        "2020-07-28",
    ),
    "sort-key-validation": ("Sort key validation", "Provides validation on sort keys.", "2018-12-12"),
    "sorting": ("Sorting support", "Extension that indicates that sorting is enabled.", "2016-06-12"),
    "standard-attr-description": (
        "standard-attr-description",
        "Extension to add descriptions to standard attributes",
        "2016-02-10",
    ),
    "standard-attr-revisions": (
        "Resource revision numbers",
        "This extension will display the revision number of neutron resources.",
        "2016-04-11",
    ),
    "standard-attr-tag": (
        "Tag support for resources with standard attribute: network, subnet, port, security_group, security_group_rule",
        "Enables to set tag on resources with standard attribute.",
        "2017-01-01",
    ),
    "standard-attr-timestamp": (
        "Resource timestamps",
        "Adds created_at and updated_at fields to all Neutron resources.",
        "2016-09-12",
    ),
    "subnet-external-network": (
        "Subnet belongs to an external network",
        "Informs if the subnet belongs to an external network",
        "2024-02-05",
    ),
}
"""Alias to name, description and day of its last change."""

routes = extension_urls(
    "/v2.0/extensions",
    {
        alias: {"name": name, "description": description, "updated": f"{day}T10:00:00-00:00"}
        for alias, (name, description, day) in EXTENSIONS.items()
    },
    lambda alias: NotFound(f"Extension with alias {alias} does not exist", "HTTPNotFound"),
    policy="regular_user",
)
