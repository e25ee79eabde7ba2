"""A cloud of several hosts on one machine, and what can be made to go wrong there."""

from pileus.lab.building import Lab
from pileus.lab.plan import DEVICE, MOST_HOSTS, MOST_REPLICAS, SWITCH, LabFailed, Place, Plan

__all__ = ["DEVICE", "MOST_HOSTS", "MOST_REPLICAS", "SWITCH", "Lab", "LabFailed", "Place", "Plan"]
