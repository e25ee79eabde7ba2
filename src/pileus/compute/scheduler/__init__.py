"""The scheduler: filter, weigh and claim in one transaction."""

from pileus.compute.scheduler.place import PASS_SIZE, move, place, prepare, release, release_all

__all__ = ["PASS_SIZE", "move", "place", "prepare", "release", "release_all"]
