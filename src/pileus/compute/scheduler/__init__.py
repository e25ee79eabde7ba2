"""The scheduler: filter, weigh and claim in one transaction."""

from pileus.compute.scheduler.place import PASS_SIZE, move, place, prepare, release, release_all
from pileus.compute.scheduler.request import Destination

__all__ = ["PASS_SIZE", "Destination", "move", "place", "prepare", "release", "release_all"]
