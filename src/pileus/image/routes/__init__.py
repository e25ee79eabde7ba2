"""The URL map of image, top to bottom."""

from pileus.image.routes import files, images, members, schemas, tags, versions

NOUNS = (versions, schemas, images, files, tags, members)
