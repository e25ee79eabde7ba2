"""The history of the placement API: what a client sees differently at each microversion.

Source: api-ref placement, REST API version history.
"""

from __future__ import annotations

from pileus.api.microversions import History, Version

HISTORY = History(
    "placement",
    [
        Version("1.0", "Resource providers, inventories, usages and allocations."),
        Version("1.1", "A provider's aggregates have a URL."),
        Version("1.2", "Resource classes have URLs, and custom ones can be made."),
        Version("1.3", "Providers filter by aggregate with member_of."),
        Version("1.4", "Providers filter by resources that they have room for."),
        Version("1.5", "All inventories of a provider can be deleted at once."),
        Version("1.6", "Traits exist, and providers have them."),
        Version("1.7", "PUT of a resource class makes it or finds it."),
        Version("1.8", "Writing allocations needs project and user."),
        Version("1.9", "Usages of a project, or of a user in it, can be asked for."),
        Version("1.10", "Allocation candidates say where a request would fit."),
        Version("1.11", "A provider links to its allocations."),
        Version("1.12", "Allocations are written as they are read; reading shows project and user."),
        Version("1.13", "Allocations of several consumers can be written at once."),
        Version("1.14", "Providers form trees: they show parent and root and filter by in_tree."),
        Version("1.15", "Responses say when they were last modified and are not to be cached."),
        Version("1.16", "Allocation candidates can be limited in number."),
        Version("1.17", "Allocation candidates can require traits, and show them."),
        Version("1.18", "Providers filter by required traits."),
        Version("1.19", "A provider's aggregates show its generation."),
        Version("1.20", "Creating a provider answers 200 with the provider."),
        Version("1.21", "Allocation candidates filter by aggregate with member_of."),
        Version("1.22", "Traits can be forbidden with an exclamation mark."),
        Version("1.23", "Errors have a code."),
        Version("1.24", "member_of can be repeated; all of them must hold."),
        Version("1.25", "Allocation candidates take numbered groups of resources and traits."),
        Version("1.26", "An inventory may reserve all that it has."),
        Version("1.27", "Summaries of allocation candidates show every resource class."),
        Version("1.28", "Consumers have a generation."),
        Version("1.29", "Allocation candidates know trees of providers."),
        Version("1.30", "Inventories and allocations can be moved together by the reshaper."),
        Version("1.31", "Allocation candidates filter by in_tree."),
        Version("1.32", "Aggregates can be forbidden with an exclamation mark."),
        Version("1.33", "Groups of a request for candidates can have names."),
        Version("1.34", "Allocation candidates show which provider serves which group."),
        Version("1.35", "Traits can be required of the root of a tree."),
        Version("1.36", "Groups can be required to share a subtree."),
        Version("1.37", "A provider's parent can be changed."),
        Version("1.38", "Consumers have a type, by which usages are grouped."),
        Version("1.39", "One trait of several can be required with in:, and required can be repeated."),
    ],
    malformed="invalid version string: {wanted}",
    unacceptable="Unacceptable version header: {wanted}",
)
