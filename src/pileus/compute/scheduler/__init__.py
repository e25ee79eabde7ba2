"""The scheduler: filter, weigh and claim in one transaction."""

from pileus.compute.scheduler.place import place, release

__all__ = ["place", "release"]
