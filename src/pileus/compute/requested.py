"""What requests name that make a server, or make it anew: flavors, images, key pairs, passwords, user
data."""

from __future__ import annotations

import base64
import binascii
import secrets
import string

from pileus.api import Requester, Values
from pileus.compute import flavors, keypairs
from pileus.compute.model import Flavor, KeyPair
from pileus.compute.snapshots import FlavorSnapshot, ImageSnapshot
from pileus.db import Session
from pileus.errors import Invalid, NotFound
from pileus.image import images
from pileus.image.model import Image
from pileus.settings import Settings

GIB = 1024**3
PASSWORD_LENGTH = 12


def usable_image(session: Session, asks: Requester, body: Values) -> Image:
    """The image that a body names; raises Invalid: none, or none that a server can boot from."""
    image_id = str(body.get("imageRef") or "").rstrip("/").rsplit("/", 1)[-1]
    for mapping in body.get("block_device_mapping_v2", []):
        local = mapping.get("source_type") == "image" and mapping.get("destination_type") == "local"
        if not local or str(mapping.get("boot_index")) != "0" or mapping.get("uuid") != image_id:
            raise Invalid("Block Device Mapping is Invalid: only the image itself as local boot disk is supported.")
    if not image_id:
        raise Invalid("Invalid imageRef provided: a server boots from an image.")
    try:
        image = images.find(session, asks, image_id)
    except NotFound:
        raise Invalid("Can not find requested image") from None
    if image.status != "active":
        raise Invalid(f"Image {image_id} is not active.")
    return image


def usable_flavor(session: Session, asks: Requester, reference: object) -> Flavor:
    """The flavor that an id or a link names; raises Invalid: none, or none that may be used."""
    flavor_id = str(reference).rstrip("/").rsplit("/", 1)[-1]
    try:
        flavor = flavors.get(session, asks, flavor_id)
    except NotFound as error:
        raise Invalid(error.message) from error
    if flavor.disabled:
        raise Invalid(f"Flavor {flavor_id} could not be found.")
    return flavor


def image_snapshot(settings: Settings, image: Image) -> ImageSnapshot:
    """What of an image a server keeps."""
    return ImageSnapshot(
        location=images.location(settings, image),
        disk_format=image.disk_format or "",
        size_bytes=image.size or 0,
        sha512=image.os_hash_value or "",
        min_disk=image.min_disk,
        min_ram=image.min_ram,
        properties={key: str(value) for key, value in image.properties.items()},
    )


def check_fit(
    asks: Requester, flavor: FlavorSnapshot, image: Image | ImageSnapshot, about: Values | None = None
) -> None:
    """Refuse an image that a server of this flavor cannot boot from.

    Args:
        image: one that there is, or what a server keeps of its own.
        about: what is asked about a server that is there; one that is yet to be made is the caller's own.

    Raises:
        Invalid: the flavor is too small. Forbidden: a flavor without a disk lets the image choose its size.
    """
    if flavor.ram < (image.min_ram or 0):
        raise Invalid("Flavor's memory is too small for requested image.")
    if not flavor.disk:
        asks.require("os_compute_api:servers:create:zero_disk_flavor", about)
        return
    sizes = (image.size_bytes,) if isinstance(image, ImageSnapshot) else (image.size or 0, image.virtual_size or 0)
    size = max(sizes)
    if flavor.disk * GIB < size:
        raise Invalid(
            f"Flavor's disk is too small for requested image. Flavor disk is {flavor.disk * GIB} bytes, image is "
            f"{size} bytes."
        )
    if flavor.disk < (image.min_disk or 0):
        raise Invalid(
            "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is "
            f"{flavor.disk * GIB} bytes, minimum size is {image.min_disk * GIB} bytes."
        )


def check_sizes(old: FlavorSnapshot, new: FlavorSnapshot) -> None:
    """Raises Invalid: it is the same flavor, or disks would shrink."""
    why = "Server disk was unable to be resized because: "
    if new.disk == 0 and old.disk != 0:
        raise Invalid(why + "Resize to zero disk flavor is not allowed.")
    if new.id == old.id:
        raise Invalid("When resizing, instances must change flavor!")
    if new.disk < old.disk or new.ephemeral < old.ephemeral:
        raise Invalid(why + "Resize to a smaller disk is not allowed.")


def usable_key(session: Session, asks: Requester, name: str | None) -> KeyPair | None:
    """The caller's key pair of that name; raises Invalid: there is none."""
    if not name:
        return None
    key = keypairs.find(session, asks.caller.user_id, name)
    if key is None:
        raise Invalid("Invalid key_name provided.")
    return key


def check_user_data(user_data: str | None) -> None:
    """Raises Invalid unless it is base64."""
    if user_data is None:
        return
    try:
        base64.b64decode(user_data, validate=False)
    except (binascii.Error, ValueError):
        raise Invalid("Userdata content cannot be decoded: user_data must be base64.") from None


def new_password() -> str:
    """A random password."""
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(PASSWORD_LENGTH))
