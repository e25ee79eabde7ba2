"""From a path, as a guest asks for it, to a document; and all documents at once, for the config drive."""

from __future__ import annotations

from typing import Any

from pileus.agent.commands import GuestSpec
from pileus.agent.metadata import ec2, openstack


def document(guest: GuestSpec, path: str) -> tuple[bytes, str] | None:
    """Content and media type of `path`, a listing if it is a directory; None if there is no such thing."""
    tokens = [token for token in path.split("/") if token]
    if not tokens:
        return _listing([*ec2.VERSIONS, ec2.LATEST, "openstack/"])
    if tokens[0] == "openstack":
        return _openstack(guest, tokens[1:])
    if tokens[0] in ec2.VERSIONS or tokens[0] == ec2.LATEST:
        return _ec2(ec2.tree(guest, tokens[0]), tokens[1:])
    return None


def config_drive(guest: GuestSpec) -> dict[str, bytes]:
    """Every file of a config drive by its path, the administrator's password included."""
    found = {}
    for version in (*openstack.VERSIONS, openstack.LATEST):
        for name, content in openstack.files(guest, version, with_password=True).items():
            found[f"openstack/{version}/{name}"] = content
    for version in (*ec2.VERSIONS, ec2.LATEST):
        for name, content in ec2.files(guest, version).items():
            found[f"ec2/{version}/{name}"] = content
    return found


def _openstack(guest: GuestSpec, tokens: list[str]) -> tuple[bytes, str] | None:
    if not tokens:
        return _listing([*openstack.VERSIONS, openstack.LATEST])
    if tokens[0] not in (*openstack.VERSIONS, openstack.LATEST):
        return None
    files = openstack.files(guest, tokens[0])
    if len(tokens) == 1:
        return _listing(files)
    if len(tokens) > 2 or tokens[1] not in files:
        return None
    media = "application/json" if tokens[1].endswith(".json") else "application/octet-stream"
    return files[tokens[1]], media


def _ec2(tree: ec2.Tree, tokens: list[str]) -> tuple[bytes, str] | None:
    found: Any = tree
    for token in tokens:
        if not isinstance(found, dict) or token == ec2.NAME or token not in found:
            return None
        found = found[token]
    if isinstance(found, dict):
        return _listing(_entry(name, value) for name, value in sorted(found.items()) if name != ec2.NAME)
    if isinstance(found, list):
        return _listing(found)
    return (found if isinstance(found, bytes) else found.encode()), "text/plain"


def _entry(name: str, value: Any) -> str:
    """A line of a listing; a directory's ends in a slash unless it is listed by another name."""
    if isinstance(value, dict):
        return str(value.get(ec2.NAME, f"{name}/"))
    return name


def _listing(names: Any) -> tuple[bytes, str]:
    return "\n".join(names).encode(), "text/plain"
