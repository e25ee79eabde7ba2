"""What every HTTP API shares. A noun declares its routes; everything else about HTTP is here."""

from pileus.api.caller import Caller
from pileus.api.context import Context
from pileus.api.microversions import History, Version, changed, since, until
from pileus.api.paging import paginate
from pileus.api.policy import Policy
from pileus.api.requester import ITSELF, Asks, Itself, Requester
from pileus.api.resource import Resource
from pileus.api.routes import Reply, Routes
from pileus.api.schema import Schema
from pileus.api.service import Service
from pileus.api.style import HasId, Noun, Style
from pileus.jsontypes import Values

__all__ = [
    "ITSELF",
    "Asks",
    "Caller",
    "Context",
    "HasId",
    "History",
    "Itself",
    "Noun",
    "Policy",
    "Reply",
    "Requester",
    "Resource",
    "Routes",
    "Schema",
    "Service",
    "Style",
    "Values",
    "Version",
    "changed",
    "paginate",
    "since",
    "until",
]
