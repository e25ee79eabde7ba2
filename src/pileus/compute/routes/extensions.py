"""Extensions: the parts of the API that are served, in the aliases older clients look for.

Source: api-ref compute, Extensions. A version says what a client may use; this list says nothing more.
"""

from __future__ import annotations

from pileus.api.extensions import extension_urls
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.errors import NotFound

EXTENSIONS = {
    "OS-DCF": ("DiskConfig", "Servers say how their disk was partitioned."),
    "OS-EXT-AZ": ("ExtendedAvailabilityZone", "Servers show their availability zone."),
    "OS-EXT-IPS": ("ExtendedIps", "Addresses of a server show whether they are fixed or floating."),
    "OS-EXT-IPS-MAC": ("ExtendedIpsMac", "Addresses of a server show the MAC address."),
    "OS-EXT-SRV-ATTR": ("ExtendedServerAttributes", "Servers show where they run to administrators."),
    "OS-EXT-STS": ("ExtendedStatus", "Servers show task, virtual machine and power state."),
    "OS-FLV-DISABLED": ("FlavorDisabled", "Flavors show whether they are disabled."),
    "OS-FLV-EXT-DATA": ("FlavorExtraData", "Flavors have ephemeral disks."),
    "OS-SCH-HNT": ("SchedulerHints", "New servers can give the scheduler hints."),
    "OS-SRV-USG": ("ServerUsage", "Servers show when they were launched and terminated."),
    "os-access-ips": ("AccessIPs", "Servers have addresses by which they want to be reached."),
    "os-admin-actions": ("AdminActions", "Administrators can reset the state of a server."),
    "os-admin-password": ("AdminPassword", "The password of a server can be changed."),
    "os-aggregates": ("Aggregates", "Hosts are kept in aggregates, which can make availability zones."),
    "os-attach-interfaces": ("AttachInterfaces", "The interfaces of a server can be listed and shown."),
    "os-availability-zone": ("AvailabilityZone", "Hosts are in availability zones; new servers choose one."),
    "os-config-drive": ("ConfigDrive", "Servers can have their metadata on a drive."),
    "os-console-output": ("ConsoleOutput", "The console log of a server can be read."),
    "os-evacuate": ("Evacuate", "Servers can be evacuated from a dead host."),
    "os-extended-hypervisors": ("ExtendedHypervisors", "Hypervisors show their address and disk."),
    "os-extended-quotas": ("ExtendedQuotas", "Quotas can be reset and forced."),
    "os-extended-services": ("ExtendedServices", "Services show why they are disabled."),
    "os-flavor-access": ("FlavorAccess", "Flavors can be kept to some projects."),
    "os-flavor-extra-specs": ("FlavorExtraSpecs", "Flavors have extra specs."),
    "os-flavor-manage": ("FlavorManage", "Flavors can be created and deleted."),
    "os-flavor-rxtx": ("FlavorRxtx", "Flavors have a network factor."),
    "os-flavor-swap": ("FlavorSwap", "Flavors have swap disks."),
    "os-hypervisor-status": ("HypervisorStatus", "Hypervisors show state and status."),
    "os-hypervisors": ("Hypervisors", "Hypervisors can be listed and shown."),
    "os-instance-actions": ("InstanceActions", "What was done to a server is recorded."),
    "os-keypairs": ("Keypairs", "Users keep public keys that new servers let in."),
    "os-lock-server": ("LockServer", "Servers can be locked and unlocked."),
    "os-migrate-server": ("MigrateServer", "Servers can be migrated, also as they run."),
    "os-migrations": ("Migrations", "Moves of servers can be listed."),
    "os-multiple-create": ("MultipleCreate", "Many servers can be created in one request."),
    "os-pause-server": ("PauseServer", "Servers can be paused and unpaused."),
    "os-quota-sets": ("Quotas", "Projects have quotas."),
    "os-server-group-quotas": ("ServerGroupQuotas", "Projects have quotas of server groups and of their members."),
    "os-server-groups": ("ServerGroups", "Servers of a group are kept on one host, or on different ones."),
    "os-server-list-multi-status": ("ServerListMultiStatus", "Servers filter by several statuses."),
    "os-server-sort-keys": ("ServerSortKeys", "Lists of servers can be sorted."),
    "os-server-start-stop": ("ServerStartStop", "Servers can be started and stopped."),
    "os-services": ("Services", "Compute services can be listed, enabled and disabled."),
    "os-shelve": ("Shelve", "Servers can be shelved and unshelved."),
    "os-suspend-server": ("SuspendServer", "Servers can be suspended and resumed."),
    "os-used-limits": ("UsedLimits", "Limits show what is used of them."),
    "os-used-limits-for-admin": ("UsedLimitsForAdmin", "Administrators see other projects' limits."),
    "os-user-data": ("UserData", "New servers can be given user data."),
}
"""Alias to name and description."""

routes = extension_urls(
    "/v2.1/extensions",
    {
        alias: {
            "name": name,
            "description": description,
            "namespace": "http://docs.openstack.org/compute/ext/fake_xml",
            "updated": "2014-12-03T00:00:00Z",
        }
        for alias, (name, description) in EXTENSIONS.items()
    },
    lambda alias: NotFound("The resource could not be found."),
    policy="os_compute_api:extensions",
    query=NO_QUERY_LATE,
)
