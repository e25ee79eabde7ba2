"""The replica process: granian serving the APIs as an ordinary user, the runner beside them."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
from collections.abc import Callable, Mapping

import granian.http
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from pileus import bootstrap
from pileus.api.app import Application
from pileus.cloud import Cloud
from pileus.db import Database
from pileus.settings import Settings
from pileus.users import become

log = logging.getLogger(__name__)
BLOCKING_THREADS = 16
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies; must follow any change of user, which resets it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run(settings: Settings, passwords: Mapping[str, str], progress: Callable[[str], None]) -> None:
    """Serve for ever. Must be called as root or as the user that serves; one worker, respawned if it dies."""
    if os.geteuid() == 0:
        become(settings.replica_user)
    die_with_parent()
    host, port = settings.address

    def load(_target: str) -> Application:
        die_with_parent()
        try:
            return make_application(settings, passwords, progress)
        except Exception as error:
            log.exception("the replica cannot start")
            progress(f"failed replica: {error}")
            raise

    server = Granian(
        "pileus",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=BLOCKING_THREADS,
        backpressure=256,
        respawn_failed_workers=True,
        respawn_interval=0.2,
        log_level=LogLevels.error,
        log_dictconfig={"loggers": {"_granian": {"propagate": True}}, "handlers": {}},
        http1_settings=granian.http.HTTP1Settings(header_read_timeout=30_000),
        workers_kill_timeout=10,
    )
    server.serve(target_loader=load)


def make_application(settings: Settings, passwords: Mapping[str, str], progress: Callable[[str], None]) -> Application:
    """First-start contents, runner; the WSGI callable."""
    cloud = Cloud(settings, Database(settings.database_url))
    bootstrap.first_start(cloud, passwords)
    application = cloud.application()
    cloud.start()
    progress("ready")
    return application
