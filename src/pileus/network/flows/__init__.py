"""The flows of the network service: telling the agents what changed."""

from pileus.network.flows import sync

__all__ = ["sync"]
