"""Tables of placement: who provides which resources, and who uses them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pileus.db import Base


class ResourceProvider(Base):
    """A hypervisor host as a provider of resources. Its generation moves on with every change."""

    __tablename__ = "resource_providers"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    generation: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class InventoryRow(Base):
    """How much of a resource class a provider has. MEMORY_MB is in MiB, DISK_GB in GiB."""

    __tablename__ = "inventories"

    provider_id: Mapped[str] = mapped_column(ForeignKey("resource_providers.id", ondelete="CASCADE"), primary_key=True)
    resource_class: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[int]
    reserved: Mapped[int]
    min_unit: Mapped[int]
    max_unit: Mapped[int]
    step_size: Mapped[int]
    allocation_ratio: Mapped[float]
    provider: Mapped[ResourceProvider] = relationship()

    @property
    def updated_at(self) -> datetime:
        """When the provider's inventories changed last: they are replaced together."""
        return self.provider.updated_at


class ProviderTrait(Base):
    """A quality of a provider, in os-traits' names."""

    __tablename__ = "provider_traits"

    provider_id: Mapped[str] = mapped_column(ForeignKey("resource_providers.id", ondelete="CASCADE"), primary_key=True)
    trait: Mapped[str] = mapped_column(primary_key=True)


class Consumer(Base):
    """Who uses resources: a server."""

    __tablename__ = "consumers"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(index=True)
    user_id: Mapped[str]
    consumer_type: Mapped[str] = mapped_column(default="INSTANCE")
    generation: Mapped[int] = mapped_column(default=1)


class Allocation(Base):
    """How much of a provider's resource class a consumer uses."""

    __tablename__ = "allocations"

    consumer_id: Mapped[str] = mapped_column(ForeignKey("consumers.id", ondelete="CASCADE"), primary_key=True)
    provider_id: Mapped[str] = mapped_column(ForeignKey("resource_providers.id"), primary_key=True, index=True)
    resource_class: Mapped[str] = mapped_column(primary_key=True)
    used: Mapped[int]
