"""The replica process: the edge serving the APIs as an ordinary user, the runner beside it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable, Mapping

from pileus import bootstrap
from pileus.api.app import streams
from pileus.cloud import Cloud
from pileus.db import Database
from pileus.edge.certificate import context
from pileus.edge.serving import serve
from pileus.settings import Settings
from pileus.users import become

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies; must follow any change of user, which resets it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run(
    settings: Settings, passwords: Mapping[str, str], listener: socket.socket, progress: Callable[[str], None]
) -> None:
    """Serve until SIGTERM. Must be called as root or as the user that serves, in the main thread.

    Args:
        passwords: of the first users, by name. listener: bound to the APIs' address. progress: told "ready".
    """
    tls = context(settings) if settings.tls_cert else None  # the key may be root's
    if os.geteuid() == 0:
        become(settings.replica_user)
    die_with_parent()
    cloud = Cloud(settings, Database(settings.database_url))
    bootstrap.first_start(cloud, passwords)
    application = cloud.application()
    cloud.start()
    progress("ready")
    serve(application, streams(cloud.services), settings, listener, tls)
