"""What every HTTP API shares. A noun declares its routes; everything else about HTTP is here."""

from pileus.api.context import Caller, Context
from pileus.api.microversions import History, Version, changed, since, until
from pileus.api.paging import paginate
from pileus.api.policy import Policy
from pileus.api.routes import Reply, Routes
from pileus.api.schema import Schema
from pileus.api.service import Service

__all__ = [
    "Caller",
    "Context",
    "History",
    "Policy",
    "Reply",
    "Routes",
    "Schema",
    "Service",
    "Version",
    "changed",
    "paginate",
    "since",
    "until",
]
