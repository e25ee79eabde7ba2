"""The flows of compute: one verb a file, each read top to bottom."""

from pileus.compute import scheduler, spec
from pileus.compute.flows import boot, delete, power

FLOWS = (boot.boot, delete.delete, power.stop, power.start, power.reboot_soft, power.reboot_hard)
ACTIONS = (
    boot.give_up_network,
    scheduler.release,
    spec.build,
    spec.discard,
    spec.start,
    spec.stop,
    spec.reboot,
    spec.update_data,
)
"""The recorded actions that their journals and debts name."""
