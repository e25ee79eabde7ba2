"""The flows of compute: one verb a file, each read top to bottom."""

from pileus.compute.flows import boot, delete, power

__all__ = ["boot", "delete", "power"]
