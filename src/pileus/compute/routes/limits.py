"""A project's limits and what it uses of them (api-ref compute, Limits)."""

from __future__ import annotations

from pileus.api import Context, Routes, Schema, Values, until
from pileus.api.microversions import resolved
from pileus.compute.parameters import ANY
from pileus.compute.quotas import QUOTAS

routes = Routes()

OTHER_PROJECT = "os_compute_api:limits:other_project"
LIST = Schema.params(closed="2.75", tenant_id=ANY)


def view(ctx: Context, limits: dict[str, int], used: dict[str, int]) -> Values:
    """The absolute limits at the request's microversion; the network's are unlimited while they are shown."""
    shown = {
        "maxTotalInstances": limits["instances"],
        "maxTotalCores": limits["cores"],
        "maxTotalRAMSize": limits["ram"],
        "maxTotalKeypairs": limits["key_pairs"],
        "maxServerMeta": limits["metadata_items"],
        "maxImageMeta": until("2.38", limits["metadata_items"]),
        "maxPersonality": until("2.56", limits["injected_files"]),
        "maxPersonalitySize": until("2.56", limits["injected_file_content_bytes"]),
        "maxServerGroups": limits["server_groups"],
        "maxServerGroupMembers": limits["server_group_members"],
        "maxSecurityGroups": until("2.35", -1),
        "maxSecurityGroupRules": until("2.35", -1),
        "maxTotalFloatingIps": until("2.35", -1),
        "totalInstancesUsed": used["instances"],
        "totalCoresUsed": used["cores"],
        "totalRAMUsed": used["ram"],
        "totalServerGroupsUsed": used["server_groups"],
        "totalSecurityGroupsUsed": until("2.35", 0),
        "totalFloatingIpsUsed": until("2.35", 0),
    }
    return resolved(shown, ctx.version)


@routes.get("/v2.1/limits", policy="os_compute_api:limits", asks=(OTHER_PROJECT,), query=LIST)
def index(ctx: Context) -> Values:
    project_id = ctx.param("tenant_id")
    if project_id is None:
        project_id = ctx.project_id
    else:
        ctx.require(OTHER_PROJECT, {"project_id": project_id})
    absolute = view(ctx, QUOTAS.limits(ctx.session, project_id), QUOTAS.used(ctx.session, project_id))
    return {"limits": {"rate": [], "absolute": absolute}}
