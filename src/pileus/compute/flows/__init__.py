"""The flows of compute: one verb a file, each read top to bottom."""

from pileus.compute.flows import boot, data, delete, power, reap

__all__ = ["boot", "data", "delete", "power", "reap"]
