"""The flows of compute: one verb a file, each read top to bottom."""

from pileus.compute.flows import boot, delete, power, reap

__all__ = ["boot", "delete", "power", "reap"]
