"""How guests are kept in: what this machine has for it, and what libvirt is told to use (libvirt, qemu.conf)."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from pileus.agent.account import Account
from pileus.agent.daemons import run
from pileus.agent.errors import CommandFailed

_CGROUPS = Path("/sys/fs/cgroup")
_CONTROLLERS = ("devices", "memory")
_APPARMOR = (Path("/usr/lib/libvirt/virt-aa-helper"), Path("/etc/apparmor.d/libvirt/TEMPLATE.qemu"))
_OVERHEAD_MIB = 512
_TRANSLATIONS_MIB = 1024
"""What QEMU keeps of translated code, where it emulates (-accel tcg, tb-size)."""


class Confinement(msgspec.Struct, frozen=True, kw_only=True):
    """What guests are kept in by; everything False or empty keeps nothing in.

    `account`: whose group they are in; each is a user of its own. `partition`: the control group that ours are in.
    """

    account: Account | None = None
    seccomp: bool = False
    namespaces: bool = False
    controllers: tuple[str, ...] = ()
    partition: str = ""
    apparmor: bool = False

    @classmethod
    def of(cls, account: Account | None, state: Path) -> Confinement:
        """What this machine has.

        Raises:
            CommandFailed: the account cannot get to `state`.
        """
        if account is None:
            return cls()
        _check_reach(account, state)
        controllers = tuple(name for name in _CONTROLLERS if _has_controller(name))
        return cls(
            account=account,
            seccomp=Path("/proc/sys/kernel/seccomp/actions_avail").exists(),
            namespaces=_runs("unshare", "--mount", "true"),
            controllers=controllers,
            partition=_partition(state, controllers),
            apparmor=_is_yes(Path("/sys/module/apparmor/parameters/enabled")) and all(p.exists() for p in _APPARMOR),
        )

    @property
    def has(self) -> list[str]:
        """What keeps guests in, in words."""
        return [word for word, there in self._words() if there]

    @property
    def lacks(self) -> list[str]:
        """What does not."""
        return [word for word, there in self._words() if not there]

    def _words(self) -> list[tuple[str, bool]]:
        return [
            ("a user of each guest's own", self.account is not None),
            ("seccomp", self.seccomp),
            ("mount namespaces", self.namespaces),
            *((f"control group {name}", name in self.controllers) for name in _CONTROLLERS),
            ("AppArmor", self.apparmor),
        ]

    @property
    def qemu_conf(self) -> str:
        """libvirt's configuration of its QEMU driver. Owners of files are ours to set: a base image is nobody's."""
        user, group = (self.account.name, f"+{self.account.gid}") if self.account else ("root", "root")
        lines: dict[str, str | int] = {
            "user": f'"{user}"',
            "group": f'"{group}"',
            "dynamic_ownership": 0,
            "remember_owner": 0,
            "security_driver": '"apparmor"' if self.apparmor else '"none"',
            "seccomp_sandbox": int(self.seccomp),
            "namespaces": '[ "mount" ]' if self.namespaces else "[]",
            "cgroup_controllers": "[ " + ", ".join(f'"{name}"' for name in self.controllers) + " ]",
            "max_core": 0,
            "dump_guest_core": 0,
            "stdio_handler": '"file"',
            "vnc_listen": '"127.0.0.1"',
            "auto_start_bypass_cache": 0,
        }
        return "".join(f"{name} = {value}\n" for name, value in lines.items())

    def dissolve(self) -> None:
        """Remove what was made for it outside of the state; groups in which there is still a guest stay."""
        for folder in _folders(self.partition[1:], self.controllers) if self.partition else ():
            for path, _, _ in os.walk(folder, topdown=False):
                _try(Path(path).rmdir)

    def memory_mib(self, guest_mib: int, virt_type: str) -> int | None:
        """The most memory that a guest's QEMU may take, beyond which the kernel ends it; None where nothing can."""
        if "memory" not in self.controllers:
            return None
        return guest_mib + guest_mib // 8 + _OVERHEAD_MIB + (_TRANSLATIONS_MIB if virt_type == "qemu" else 0)


def _check_reach(account: Account, state: Path) -> None:
    """Raises CommandFailed unless the account can enter `state`: guests' disks are in it."""
    if not _runs(*account.command, "test", "-x", str(state)):
        raise CommandFailed(
            "hypervisor", f"user {account.name} cannot enter {state}: let others pass (chmod o+x) all folders above it"
        )


def _runs(*argv: str) -> bool:
    try:
        run(*argv, timeout_s=30)
    except CommandFailed:
        return False
    return True


def _is_yes(path: Path) -> bool:
    return _read(path).startswith("Y")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _has_controller(name: str) -> bool:
    """Whether a control group controller can be used: of version 1, or of version 2, where devices are BPF's."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return name == "devices" or name in _read(_CGROUPS / "cgroup.controllers").split()
    return (_CGROUPS / name / "tasks").exists()


def _partition(state: Path, controllers: tuple[str, ...]) -> str:
    """A control group of this state's own, made here: two clouds' guests may have one name, and groups go by names.

    systemd makes groups itself, from names that it makes unique.
    """
    if Path("/run/systemd/system").exists() or not controllers:
        return ""
    if (_CGROUPS / "cgroup.controllers").exists():
        _try(lambda: (_CGROUPS / "cgroup.subtree_control").write_text("+memory"))
    name = f"pileus-{zlib.crc32(str(state).encode()):08x}"
    folders = _folders(name, controllers)
    return f"/{name}" if all(_try(partial(folder.mkdir, exist_ok=True)) for folder in folders) else ""


def _folders(name: str, controllers: tuple[str, ...]) -> list[Path]:
    """Where a partition's groups are: in the hierarchy of version 2, in one a controller, or in both."""
    roots = [_CGROUPS / controller for controller in controllers] + [_CGROUPS / "unified", _CGROUPS]
    is_root = [(root / "tasks").exists() or (root / "cgroup.controllers").exists() for root in roots]
    return [root / f"{name}.partition" for root, there in zip(roots, is_root, strict=True) if there]


def _try(do: Callable[[], object]) -> bool:
    try:
        do()
    except OSError:
        return False
    return True
