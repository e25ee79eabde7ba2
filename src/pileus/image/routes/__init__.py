"""The URL map of image, top to bottom."""

from pileus.image.routes import files, images, info, members, schemas, versions

NOUNS = (versions, schemas, info, images, files, members)
