"""A project's limits and what it uses of them (api-ref compute, Limits)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema, until
from pileus.api.microversions import resolve
from pileus.compute.parameters import ANY
from pileus.compute.quotas import QUOTAS, usage

routes = Routes()

LIST = Schema.params(closed="2.75", tenant_id=ANY)


def view(ctx: Context, limits: dict[str, int], used: dict[str, int]) -> dict[str, Any]:
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
        "totalServerGroupsUsed": used.get("server_groups", 0),
        "totalSecurityGroupsUsed": until("2.35", 0),
        "totalFloatingIpsUsed": until("2.35", 0),
    }
    absolute: dict[str, Any] = resolve(shown, ctx.version)
    return absolute


@routes.get("/v2.1/limits", policy="os_compute_api:limits", query=LIST)
def index(ctx: Context) -> dict[str, Any]:
    project_id = ctx.param("tenant_id")
    if project_id is not None:
        ctx.require("os_compute_api:limits:other_project")
    else:
        project_id = ctx.project_id
    absolute = view(ctx, QUOTAS.limits(ctx.session, project_id), usage(ctx.session, project_id))
    return {"limits": {"rate": [], "absolute": absolute}}
