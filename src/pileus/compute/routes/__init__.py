"""The URL map of compute, top to bottom."""

from pileus.compute.routes import actions, instance_actions, servers, versions

NOUNS = (versions, servers, actions, instance_actions)
