"""What is done to servers, one file a verb: each flow read top to bottom, beside the declaration of its action."""

from pileus.compute import scheduler, spec
from pileus.compute.actions.boot import boot, give_up_network
from pileus.compute.actions.console import console
from pileus.compute.actions.delete import delete
from pileus.compute.actions.force_delete import force_delete
from pileus.compute.actions.image import create_image, drop_image
from pileus.compute.actions.interfaces import attach_interface, detach_interface, give_up_port
from pileus.compute.actions.lock import lock, unlock
from pileus.compute.actions.password import change_password
from pileus.compute.actions.pause import pause, resume, suspend, unpause
from pileus.compute.actions.power import reboot_hard, reboot_soft, start, stop
from pileus.compute.actions.rebuild import rebuild
from pileus.compute.actions.reset import reset_state

FLOWS = (
    boot,
    delete,
    stop,
    start,
    reboot_hard,
    reboot_soft,
    pause,
    unpause,
    suspend,
    resume,
    rebuild,
    create_image,
    attach_interface,
    detach_interface,
)
"""Also the rows of the state table."""
DEEDS = (lock, unlock, console, change_password, reset_state, force_delete)
RECORDED = (
    give_up_network,
    give_up_port,
    drop_image,
    scheduler.release,
    *spec.COMMANDS,
)
"""The actions that journals and debts name."""
