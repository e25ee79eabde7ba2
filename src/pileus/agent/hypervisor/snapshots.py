"""The command that makes an image of a guest's disk."""

from __future__ import annotations

import logging
import math
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import libvirt
import msgspec

from pileus.agent import qemuimg
from pileus.agent.account import give
from pileus.agent.commands import SnapshotGuest
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor import domain
from pileus.agent.hypervisor.base import Result
from pileus.agent.hypervisor.connection import quiet
from pileus.agent.hypervisor.guests import Guests
from pileus.agent.storage import qcow2
from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.uploads import Uploads
from pileus.agent.timeline import Timeline

log = logging.getLogger(__name__)

_GIB = 1 << 30
_END_OF_JOB_S = 10.0


class SnapshotCommands(Guests):
    """See base.Hypervisor. The disk is copied beside itself first: the place of the image is open to others."""

    _uploads: Uploads

    def snapshot(self, host: str, command: SnapshotGuest, timeline: Timeline) -> Result:
        """Copy the root disk as it is now, and deliver the copy."""
        if command.disk_format != "qcow2":
            raise CommandFailed("unsupported", f"this host makes no images of format {command.disk_format}")
        self._uploads.check(command.location)
        with self._commanded(host, command.server_id):
            files = self._files.guest(command.server_id)
            found = self._existing(command.server_id)
            files.begin_copy()
            try:
                with timeline.stage("copy disk") as detail:
                    detail |= {"image": command.image_id, "live": self._copy_disk(found, files, timeline)}
                with open(os.open(files.copy, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as copy:
                    disk = _standing_alone(copy)
                    delivered = self._uploads.deliver(copy, files.copy.stat().st_size, command.location, timeline)
            finally:
                self._drop_copy(command.server_id)
        return {**msgspec.structs.asdict(delivered), "virtual_size": disk.size}

    def _copy_disk(self, found: Any, files: GuestFiles, timeline: Timeline) -> bool:
        """Copy the root disk; whether the guest ran meanwhile."""
        target = domain.disk_of(found.XMLDesc(0), files.root) if found.isActive() else None
        if target is not None and self._copy_live(found, target, files, timeline):
            return True
        files.copy.unlink(missing_ok=True)
        self._convert(files, timeline)
        return False

    def _copy_live(self, found: Any, target: str, files: GuestFiles, timeline: Timeline) -> bool:
        """Have QEMU copy the disk as it is when it begins: what the guest writes later is kept out of the copy.

        Returns:
            False if the guest went off before the end; the copy is worth nothing then.
        """

        copy = files.copy

        def over() -> bool:
            try:
                job = found.jobStats()
            except libvirt.libvirtError:
                if found.isActive():
                    raise
                return True
            if job["type"] == libvirt.VIR_DOMAIN_JOB_NONE:
                return True
            timeline.progress("copy disk", job.get("disk_processed", 0), job.get("disk_total", 0))
            return False

        qemuimg.create(copy, _size(files.root))
        give(files.runs_as, copy, 0o600)  # QEMU may write it, and make nothing beside it
        found.backupBegin(domain.backup(target, copy), None, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)
        self._connection.wait_for(over, math.inf)
        if not found.isActive():
            return False
        ended = found.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        if ended["type"] != libvirt.VIR_DOMAIN_JOB_COMPLETED:
            log.warning("copy of %s failed: %s", found.name(), ended.get("errmsg"))
            raise CommandFailed("storage", "the server's disk could not be copied")
        return True

    def _convert(self, files: GuestFiles, timeline: Timeline) -> None:
        """Copy the disk of a guest that is off, as the guest's user; QEMU's locks keep this from one that runs."""
        virtual_size = _size(files.root)

        def tell() -> None:
            done = files.copy.stat().st_blocks * 512 if files.copy.exists() else 0
            timeline.progress("copy disk", min(done, virtual_size), virtual_size)

        gib = virtual_size // _GIB
        limits = qemuimg.Limits(
            cpu_s=60 + 10 * gib, timeout_s=900.0 + 60.0 * gib, file_bytes=virtual_size + virtual_size // 8 + (64 << 20)
        )
        try:
            with ExitStack() as stack:
                root = stack.enter_context(open(files.root, "rb"))
                copy = stack.enter_context(open(files.copy, "xb"))
                base = files.base_name()
                behind = stack.enter_context(open(self._images.path(base), "rb")) if base else None
                runs_as = files.runs_as
                files.hand_over(runs_as)
                give(runs_as, copy.fileno(), 0o600)
                disks = (root, "qcow2", copy, "qcow2")
                qemuimg.convert(*disks, limits, account=runs_as, backing=behind, meanwhile=tell)
        except (CommandFailed, OSError, ValueError) as error:
            if isinstance(error, CommandFailed) and error.code != "program":
                raise
            log.warning("copy of %s: %s", files.directory.name, error)
            raise CommandFailed("storage", "the server's disk could not be copied") from error

    def _drop_copy(self, server_id: str) -> None:
        """Remove a copy, the job that may still write it first. Never fails: what is left goes at the next start."""
        files = self._files.guest(server_id)
        with suppress(CommandFailed), quiet():
            found = self._find(server_id)
            if found is not None and _is_copied(found):
                found.abortJob()
                self._connection.wait_for(lambda: not _is_copied(found), _END_OF_JOB_S)
        files.end_copy()

    def _drop_copies(self) -> None:
        """Remove what an agent that died left: copies, and images half delivered."""
        for server_id in self._files.copied():
            self._drop_copy(server_id)
        self._uploads.clear()


def _is_copied(found: Any) -> bool:
    """Whether a domain has a job that copies its disk; there is no other job that has this operation."""
    return bool(found.isActive() and found.jobStats().get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP)


def _size(disk: Path) -> int:
    """The size of a qcow2 disk, bytes."""
    with open(disk, "rb") as file:
        return qcow2.header(file).size


def _standing_alone(copy: BinaryIO) -> qcow2.Header:
    """The header of a copy that a guest's QEMU wrote.

    Raises:
        CommandFailed: "storage", it is no disk, or names a file behind it.
    """
    try:
        disk = qcow2.header(copy)
    except ValueError:
        disk = None
    if disk is None or disk.backed:
        raise CommandFailed("storage", "the server's disk could not be copied: the copy is no whole disk")
    copy.seek(0)
    return disk
