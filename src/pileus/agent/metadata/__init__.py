"""What a guest may learn about itself: Nova's formats, the store of it, and the HTTP service."""

from pileus.agent.metadata.service import MetadataService
from pileus.agent.metadata.store import MetadataStore

__all__ = ["MetadataService", "MetadataStore"]
