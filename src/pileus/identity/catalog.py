"""The service catalog: the APIs this program serves, at the address the client reached it by."""

from __future__ import annotations

import uuid
from functools import cache

import msgspec

from pileus.jsontypes import Values

INTERFACES = ("public", "internal", "admin")


class Entry(msgspec.Struct, frozen=True):
    """A service of the catalog; `path` may hold {project_id}."""

    type: str
    name: str
    path: str

    @property
    def id(self) -> str:
        return stable_id("service", self.type)


ENTRIES = (
    Entry("compute", "nova", "/compute/v2.1"),
    Entry("compute_legacy", "nova_legacy", "/compute/v2/{project_id}"),
    Entry("identity", "keystone", "/identity"),
    Entry("image", "glance", "/image"),
    Entry("network", "neutron", "/network"),
    Entry("placement", "placement", "/placement"),
)


@cache
def stable_id(*names: str) -> str:
    """An id that is the same after every start: undashed UUID of the names."""
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("pileus", *names))).hex


def catalog(root: str, region: str, project_id: str | None) -> list[Values]:
    """The catalog of a token (api-ref identity, Get service catalog).

    Args:
        root: scheme and host as the client reached them.
        project_id: of the token; services whose URL needs one are left out without it.
    """
    return [
        {
            "id": entry.id,
            "type": entry.type,
            "name": entry.name,
            "endpoints": [
                {
                    "id": stable_id("endpoint", entry.type, interface),
                    "interface": interface,
                    "region": region,
                    "region_id": region,
                    "url": root + entry.path.format(project_id=project_id),
                }
                for interface in INTERFACES
            ],
        }
        for entry in ENTRIES
        if project_id or "{project_id}" not in entry.path
    ]
