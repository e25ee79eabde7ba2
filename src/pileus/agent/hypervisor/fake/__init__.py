"""The fake hypervisor: stands for any number of hosts, keeps guests as files, takes no time and runs nothing.

For scale and API tests. `fake/behaviour.json` in the agent's state may make it slow or failing:
{"build_s": 0.1, "fail_build": {"fake-1": "the disk is broken"}, "copy_s": 5, "migrate_s": 5,
"fail": {"snapshot": "the disk is full"}}, where "fail" names drivers' methods, with a reason, or with one for each host
that it fails on; {"shared": true}: all hosts see each other's disks.
"""

from pileus.agent.hypervisor.fake.driver import FakeHypervisor

__all__ = ["FakeHypervisor"]
