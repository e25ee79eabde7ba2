"""A cloud of several hosts on one machine, and what can be made to go wrong there."""

from pileus.lab.building import Lab
from pileus.lab.plan import MOST_HOSTS, MOST_REPLICAS, Place, Plan
from pileus.lab.programs import LabFailed

__all__ = ["MOST_HOSTS", "MOST_REPLICAS", "Lab", "LabFailed", "Place", "Plan"]
