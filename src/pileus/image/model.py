"""Tables of images."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pileus.db import Base, utcnow
from pileus.db.tags import Tagged


class Image(Tagged, Base):
    """A disk image: what is known about it; the data is a file (store.py)."""

    __tablename__ = "images"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="queued")
    """queued, saving, active or deactivated."""
    visibility: Mapped[str] = mapped_column(default="shared")
    owner: Mapped[str | None] = mapped_column(index=True)
    protected: Mapped[bool] = mapped_column(default=False)
    os_hidden: Mapped[bool] = mapped_column(default=False)
    disk_format: Mapped[str | None]
    container_format: Mapped[str | None]
    size: Mapped[int | None]
    """Bytes of the file."""
    virtual_size: Mapped[int | None]
    """Bytes of the disk a guest sees."""
    min_disk: Mapped[int] = mapped_column(default=0)
    """GiB."""
    min_ram: Mapped[int] = mapped_column(default=0)
    """MiB."""
    checksum: Mapped[str | None]
    """MD5 of the file."""
    os_hash_algo: Mapped[str | None]
    os_hash_value: Mapped[str | None] = mapped_column(Text)
    properties: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What users said about it: text by name. Replace the dictionary to change it."""
    upload: Mapped[str | None]
    """The upload that is under way: only the newest one may finish."""
    created_at: Mapped[datetime] = mapped_column(default=utcnow, index=True)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow)

    def touch(self) -> None:
        """Note that the image changed now."""
        self.updated_at = utcnow()


class DeletedImage(Base):
    """The id of an image that is gone: hosts may still hold its data under it, so nobody gets it again."""

    __tablename__ = "deleted_images"

    id: Mapped[str] = mapped_column(primary_key=True)


class ImageMember(Base):
    """A project that a shared image is shared with."""

    __tablename__ = "image_members"

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    member_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    status: Mapped[str] = mapped_column(default="pending")
    """pending, accepted or rejected, as the member says."""
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow)
    image: Mapped[Image] = relationship()
