"""The scheduler: filter, weigh and claim in one transaction."""

from pileus.compute.scheduler.place import place, prepare, release

__all__ = ["place", "prepare", "release"]
