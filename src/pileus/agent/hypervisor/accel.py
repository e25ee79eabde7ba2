"""Which accelerator a host's guests run on, found out by running one.

A /dev/kvm that exists proves little: on nested hosts it can hang, crash on the first MSR, or emulate one
instruction at a time. So a tiny guest with the host's own CPU model goes into protected mode, counts, and
leaves by a debug port; only if it gets there in time is KVM used.
"""

from __future__ import annotations

import os
import platform
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from pileus.agent.account import Account, give

KVM = Path("/dev/kvm")
PROBE_TIMEOUT_S = 5.0
_EXIT_STATUS = 0x10 << 1 | 1
"""isa-debug-exit ends QEMU with (value << 1) | 1; the boot sector below writes 0x10."""

_BOOT_CODE = bytes.fromhex(
    "fa 31c0 8ed8"  # 7c00 cli; xor ax,ax; mov ds,ax
    "660f0116437c"  # lgdt [0x7c43]
    "0f20c0 0c01 0f22c0"  # cr0 |= PE
    "66ea1b7c00000800"  # jmp 8:0x7c1b, from here 32 bits
    "66b81000 8ed8 8ed0"  # 7c1b mov ax,0x10; mov ds,ax; mov ss,ax
    "bc007c0000"  # mov esp,0x7c00
    "9c 6a08 68317c0000 cf"  # pushf; push 8; push 0x7c31; iret: what broken nested KVM fails to emulate
    "b9002d3101 49 75fd"  # 7c31 count down from 20 million: too long for an emulator of instructions
    "66baf400 b010 ee"  # mov dx,0xf4; mov al,0x10; out dx,al
    "f4 ebfd"  # hlt, should the port be missing
    "1700 497c0000"  # 7c43 GDT register: limit, address
    "0000000000000000"  # 7c49 null descriptor
    "ffff0000009acf00"  # flat code
    "ffff00000092cf00"  # flat data
)


def boot_sector() -> bytes:
    """The 512 bytes of the probe guest's disk."""
    return _BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa"


class _Verdict(msgspec.Struct):
    """A remembered result, and what it depends on."""

    basis: str
    virt_type: str


def let_in(account: Account | None, device: Path = KVM) -> None:
    """Let guests open KVM's device where nobody has decided yet who may: as the kernel makes it, it is root's alone.

    Its group gets it, as udev's rules have it. libvirt would find KVM where it tries QEMU, not find it where it looks
    at permissions, and so try QEMU again at every question, for seconds.
    """
    try:
        found = device.stat()
    except FileNotFoundError:
        return
    if account is not None and (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o600):
        os.chown(device, 0, account.gid)
        device.chmod(0o660)


def choose(cache: Path, emulator: str = "qemu-system-x86_64", account: Account | None = None) -> str:
    """`kvm` or `qemu`: libvirt's domain type for this host; remembered in the file `cache`.

    The verdict is taken anew when the kernel, its boot or the presence of /dev/kvm changed. The guest that shows it is
    run as `account`: where that may not use KVM, guests may not.
    """
    basis = f"{_boot_id()} {platform.release()} {KVM.exists()} {account}"
    try:
        verdict = msgspec.json.decode(cache.read_bytes(), type=_Verdict)
        if verdict.basis == basis:
            return verdict.virt_type
    except (OSError, msgspec.DecodeError):
        pass
    virt_type = "kvm" if KVM.exists() and runs(emulator, "kvm", "host", account=account) else "qemu"
    fresh = cache.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(_Verdict(basis=basis, virt_type=virt_type)))
    fresh.replace(cache)
    return virt_type


def runs(
    emulator: str, accelerator: str, cpu: str, timeout_s: float = PROBE_TIMEOUT_S, account: Account | None = None
) -> bool:
    """Whether the probe guest comes to its end with this accelerator within `timeout_s`."""
    with tempfile.NamedTemporaryFile(prefix="pileus-probe-") as disk:
        disk.write(boot_sector())
        disk.flush()
        give(account, disk.fileno(), 0o600)
        argv = [
            *(account.command if account else ()),
            emulator,
            "-machine",
            "pc",
            "-accel",
            accelerator,
            "-cpu",
            cpu,
            "-m",
            "16",
            "-nodefaults",
        ]
        argv += ["-display", "none", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]
        argv += ["-drive", f"file=/proc/self/fd/{disk.fileno()},format=raw,if=ide"]
        try:
            guest = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[disk.fileno()],
            )
        except OSError:
            return False
        try:
            return guest.wait(timeout_s) == _EXIT_STATUS
        except subprocess.TimeoutExpired:
            guest.kill()
            _reap(guest)
            return False


def _reap(guest: subprocess.Popen[bytes]) -> None:
    """Wait for a killed guest, but not for ever: one stuck inside the kernel's KVM does not die."""
    with suppress(subprocess.TimeoutExpired):
        guest.wait(2)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
