"""What is done to servers, one file a family: each flow read top to bottom, beside the declaration of its action."""

from pileus.compute.actions import (
    boot,
    delete,
    evacuate,
    image,
    interfaces,
    live_migrate,
    lock,
    pause,
    power,
    questions,
    rebuild,
    reset,
    resize,
    shelve,
)

FLOWS = (
    boot.boot,
    delete.delete,
    power.stop,
    power.start,
    power.reboot_hard,
    power.reboot_soft,
    pause.pause,
    pause.unpause,
    pause.suspend,
    pause.resume,
    rebuild.rebuild,
    image.create_image,
    interfaces.attach_interface,
    interfaces.detach_interface,
    shelve.shelve,
    shelve.shelve_offload,
    shelve.unshelve,
    resize.resize,
    resize.migrate,
    resize.confirm_resize,
    resize.revert_resize,
    evacuate.evacuate,
    live_migrate.live_migrate,
)
ACTIONS = (
    *FLOWS,
    lock.lock,
    lock.unlock,
    reset.to_error,
    reset.to_active,
    questions.change_password,
    questions.console_output,
)
"""All that may be done to a server: the rows of the state table (docs/states.md)."""
