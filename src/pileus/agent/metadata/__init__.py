"""What a guest may learn about itself: Nova's formats, a store that outlives the agent, and the HTTP service."""

from pileus.agent.metadata.service import MetadataService
from pileus.agent.metadata.store import MetadataStore

__all__ = ["MetadataService", "MetadataStore"]
