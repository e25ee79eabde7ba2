"""What compute asks of networks."""

from __future__ import annotations

from pileus import api
from pileus.api import Requester
from pileus.cloud import Cloud
from pileus.db import Session
from pileus.network import server_ports
from pileus.network.requests import NetworkRequest


def member(cloud: Cloud, project_id: str) -> Requester:
    """A member of a project, asking compute."""
    service = next(one for one in cloud.services if one.name == "compute")
    asks = Requester(service.policy, cloud.settings, "req-1")
    asks.caller = api.Caller(user_id="u", user_name="u", user_domain_id="d", project_id=project_id, roles=("member",))
    return asks


def allocate(session: Session, project: str, server: str, host: str, *wanted: NetworkRequest) -> list[str]:
    want = server_ports.Want(server, project, host, wanted, [], f"name-{server}")
    return server_ports.allocate(session, [want])[0]
