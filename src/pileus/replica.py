"""The processes of a replica, which are an ordinary user's: one carries operations out, the others answer requests."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping

from pileus import bootstrap
from pileus.api.app import streams
from pileus.cloud import Cloud
from pileus.compute import scheduler
from pileus.db import Database
from pileus.edge.certificate import context
from pileus.edge.serving import serve
from pileus.operations import wake
from pileus.settings import Settings
from pileus.users import become

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies; must follow any change of user, which resets it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def keep() -> None:
    """What there is now stays until the process ends: a full collection that looks at it takes 60 ms each time."""
    gc.collect()
    gc.freeze()


def conduct(settings: Settings, passwords: Mapping[str, str], line: int, progress: Callable[[str], None]) -> None:
    """Be the process that carries operations out, until it is ended. Must be called as root or as the user that serves.

    Args:
        passwords: of the first users, by name. line: pipe on which the processes that answer requests ring.
        progress: told "ready".
    """
    scheduler.prepare()
    if os.geteuid() == 0:
        become(settings.replica_user)
    die_with_parent()
    cloud = Cloud(settings, Database(settings.database_url))
    bootstrap.first_start(cloud, passwords)
    wake.listen(line)
    cloud.start()
    keep()
    progress("ready")
    threading.Event().wait()


def answer(settings: Settings, listener: socket.socket, line: int, progress: Callable[[str], None]) -> None:
    """Be one of the processes that answer requests, until SIGTERM. Must be called as `conduct`, in the main thread.

    Args:
        listener: bound to the APIs' address, and shared. line: pipe to the process that carries operations out.
        progress: told "ready".
    """
    tls = context(settings) if settings.tls_cert else None  # the key may be root's
    if os.geteuid() == 0:
        become(settings.replica_user)
    die_with_parent()
    cloud = Cloud(settings, Database(settings.database_url))
    wake.connect(line)
    application = cloud.application()
    keep()
    progress("ready")
    serve(application, streams(cloud.services), settings, listener, tls)
