"""The scheduler: filter, weigh and claim in one transaction."""

<<<<<<< HEAD
from pileus.compute.scheduler.place import PASS_SIZE, place, release, release_all

__all__ = ["PASS_SIZE", "place", "release", "release_all"]
=======
from pileus.compute.scheduler.place import place, prepare, release

__all__ = ["place", "prepare", "release"]
>>>>>>> w-board
