"""The history of the compute API: what a client sees differently at each microversion.

Source: api-ref compute, REST API version history. Code that makes the difference asks `Context.at_least` or
marks a schema with `since`, `until` and `changed`.
"""

from __future__ import annotations

from pileus.api.microversions import History, Version

HISTORY = History(
    "compute",
    [
        Version(
            "2.1",
            "The v2.0 API with strict validation of bodies; what a request without a version gets.",
        ),
        Version("2.2", "Key pairs have a type (ssh, x509); creating one answers 201, deleting one 204."),
        Version(
            "2.3",
            "Administrators see a server's reservation, launch index, kernel, ramdisk, hostname, "
            "root device and user data; attached volumes show delete_on_termination.",
        ),
        Version("2.4", "Fixed IPs show whether they are reserved."),
        Version("2.5", "Everybody may filter servers by ip6."),
        Version("2.6", "POST remote-consoles takes the place of the four actions that opened consoles."),
        Version("2.7", "A public flavor refuses project access with 409."),
        Version("2.8", "Remote consoles know the protocol mks with the type webmks."),
        Version("2.9", "Servers show whether they are locked."),
        Version("2.10", "Administrators work with other users' key pairs by user_id."),
        Version("2.11", "Compute services show forced_down, and it can be set."),
        Version("2.12", "Virtual interfaces show their network."),
        Version("2.13", "Server groups show their project and user."),
        Version(
            "2.14",
            "Evacuate finds out about shared storage by itself and no longer answers with a password.",
        ),
        Version("2.15", "Server groups may be soft-affinity and soft-anti-affinity."),
        Version("2.16", "Servers show the status of their host to those who may see it."),
        Version("2.17", "The action trigger_crash_dump makes a guest write a dump."),
        Version("2.18", "URLs need no project id."),
        Version("2.19", "Servers have a description."),
        Version("2.20", "Volumes can be attached to and detached from shelved servers."),
        Version("2.21", "Instance actions of deleted servers stay readable."),
        Version("2.22", "A running live migration can be forced to complete."),
        Version("2.23", "A server's migrations can be listed and shown; migrations show their type."),
        Version("2.24", "A running live migration can be cancelled."),
        Version(
            "2.25",
            "Live migration chooses block migration by itself with auto; disk_over_commit is gone.",
        ),
        Version("2.26", "Servers have tags, and lists filter by them."),
        Version("2.27", "The version may be asked for with the header OpenStack-API-Version."),
        Version("2.28", "A hypervisor's cpu_info is an object, no longer text."),
        Version("2.29", "Evacuate checks a requested host with the scheduler unless forced."),
        Version("2.30", "Live migration checks a requested host with the scheduler unless forced."),
        Version("2.31", "Console tokens of every type show where they connect to."),
        Version("2.32", "Networks and block devices of a new server can be tagged."),
        Version(
            "2.33",
            "Hypervisors come in pages; block devices of a new server cannot be tagged any more.",
        ),
        Version("2.34", "Live migration checks its preconditions after the answer, no longer before."),
        Version("2.35", "Key pairs come in pages, ordered by name."),
        Version(
            "2.36",
            "The routes that passed requests on to image, network and volume services are gone, "
            "as are the limits and quotas of the network.",
        ),
        Version(
            "2.37",
            "A new server must say which networks it wants; auto and none are words for it. "
            "Networks cannot be tagged any more.",
        ),
        Version("2.38", "Listing servers by an unknown status is refused with 400."),
        Version("2.39", "The image metadata routes and the limit maxImageMeta are gone."),
        Version("2.40", "Usage reports come in pages."),
        Version("2.41", "Aggregates show a UUID."),
        Version("2.42", "Networks and block devices of a new server can be tagged again."),
        Version("2.43", "The os-hosts routes are gone."),
        Version(
            "2.44",
            "The actions for fixed and floating IPs and the list of virtual interfaces are gone.",
        ),
        Version(
            "2.45",
            "createImage and createBackup answer with the image's id in the body, not in a header.",
        ),
        Version("2.46", "The request id is also in the header X-OpenStack-Request-ID."),
        Version("2.47", "A server shows its flavor as it was at creation, no longer a link to it."),
        Version("2.48", "Server diagnostics have the same fields on every hypervisor."),
        Version("2.49", "Interfaces and volumes can be tagged when they are attached."),
        Version("2.50", "Quota classes show server groups and leave out what belongs to the network."),
        Version(
            "2.51",
            "The event volume-extended exists; everybody sees the events of an instance action.",
        ),
        Version("2.52", "A new server can be given tags."),
        Version(
            "2.53",
            "Services and hypervisors are known by UUID; services are changed at their own URL; "
            "hypervisors are searched by query parameters.",
        ),
        Version("2.54", "Rebuild can change the key pair."),
        Version("2.55", "Flavors have a description that can be changed."),
        Version("2.56", "Migrate can be told the host."),
        Version(
            "2.57",
            "Files can no longer be injected, and their limits and quotas are gone; rebuild takes user data.",
        ),
        Version("2.58", "Instance actions come in pages and filter by changes-since."),
        Version("2.59", "Migrations come in pages, filter by changes-since and show a UUID."),
        Version("2.60", "A volume that allows it can be attached to several servers."),
        Version("2.61", "Flavors show their extra specs."),
        Version("2.62", "Events of an instance action show the host, or its hash."),
        Version("2.63", "A new or rebuilt server can name the certificates its image must be signed with."),
        Version("2.64", "Server groups have one policy with rules instead of a list of policies."),
        Version("2.65", "A live migration can be cancelled while it is queued or prepared."),
        Version("2.66", "Servers, instance actions and migrations filter by changes-before."),
        Version("2.67", "A block device that becomes a volume can be given a volume type."),
        Version("2.68", "Live migration and evacuate can no longer be forced past the scheduler."),
        Version(
            "2.69",
            "Lists show what little is known of servers and services that cannot be reached now.",
        ),
        Version("2.70", "Attached volumes and interfaces show their tag."),
        Version("2.71", "A server shows the groups it belongs to."),
        Version("2.72", "A new server can use ports that ask for resources."),
        Version("2.73", "Locking takes a reason, which servers show; lists filter by locked."),
        Version(
            "2.74",
            "A new server can name its host or hypervisor, and the scheduler's filters still apply.",
        ),
        Version(
            "2.75",
            "Unknown parameters and fields are refused; update and rebuild answer like show; a "
            "flavor without swap has 0; hypervisors always show servers when asked to.",
        ),
        Version("2.76", "The event power-update exists."),
        Version("2.77", "Unshelve can be told the availability zone."),
        Version("2.78", "A server's NUMA topology can be shown."),
        Version("2.79", "Attaching a volume says whether it is deleted with the server."),
        Version("2.80", "Migrations show user and project and filter by them."),
        Version("2.81", "An aggregate's hosts can be told to fetch images ahead."),
        Version("2.82", "The event accelerator-request-bound exists."),
        Version(
            "2.83",
            "Everybody may filter servers by zone, config drive, key, times, states, progress and user.",
        ),
        Version("2.84", "Failed events of an instance action show details."),
        Version("2.85", "Whether an attached volume is deleted with the server can be changed."),
        Version("2.86", "Extra specs of known namespaces are checked."),
        Version("2.87", "Servers booted from a volume can be rescued."),
        Version(
            "2.88",
            "Hypervisors no longer show their use and CPU but their uptime; statistics and uptime routes are gone.",
        ),
        Version("2.89", "Volume attachments show attachment_id and bdm_uuid and no longer id."),
        Version("2.90", "A server's hostname can be chosen and changed, and everybody sees it."),
        Version("2.91", "Unshelve can be told the host, and the zone can be pinned or unpinned."),
        Version(
            "2.92",
            "Key pairs are only imported, no longer generated; their names may have @ and dots.",
        ),
        Version("2.93", "A server booted from a volume can be rebuilt."),
        Version("2.94", "A server's hostname may be fully qualified."),
        Version("2.95", "An evacuated server stays stopped at its destination."),
        Version("2.96", "A server shows the availability zone it is pinned to."),
        Version("2.97", "File shares can be attached to servers."),
        Version("2.98", "A server shows the properties of its image."),
        Version("2.99", "Consoles can be spice-direct, and console tokens show the TLS port."),
        Version("2.100", "A server shows the scheduler hints it was created with."),
        Version("2.101", "Attaching a volume answers 202 without a body."),
        Version(
            "2.102",
            "Flavors filter by name and lose rxtx_factor and disabled; every route refuses unknown parameters.",
        ),
        Version("2.103", "The alias os-volumes_boot of servers is gone."),
        Version("2.104", "The availability zone a server is pinned to can be changed by update."),
    ],
    legacy_header="X-OpenStack-Nova-API-Version",
)
