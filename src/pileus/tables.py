"""Every table of the program, by importing every model."""

from __future__ import annotations

from pileus.api import quota
from pileus.compute import model as compute
from pileus.compute import placement_model as compute_placement
from pileus.db import tags
from pileus.db.base import Base
from pileus.identity import model as identity
from pileus.image import model as image
from pileus.network import model as network
from pileus.operations import model as operations
from pileus.operations import notifications
from pileus.placement import model as placement

MODELS = (quota, tags, identity, image, network, placement, compute, compute_placement, operations, notifications)
METADATA = Base.metadata
