"""Writes the pages of docs/ that are drawn from code; `--check` only says whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from pileus.cloud import services
from pileus.compute import states
from pileus.settings import Settings

DOCS = Path(__file__).resolve().parents[1] / "docs"


def states_page() -> str:
    """Server states and actions as a diagram and a table."""
    lines = [
        "# Server states",
        "",
        "Drawn from `src/pileus/compute/states.py` by `make docs`.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> building: create",
        "    building --> active: built",
        "    building --> error: no host could build it",
    ]
    for action in states.ACTIONS.values():
        lines += [f"    {state} --> {action.then}: {action.name}" for state in sorted(action.when)]
    lines += [
        "    deleted --> [*]",
        "```",
        "",
        "| action | from vm_state | task_state meanwhile | vm_state after |",
        "|---|---|---|---|",
    ]
    for action in states.ACTIONS.values():
        when = ", ".join(sorted(action.when)) or "(none yet)"
        more = " (also while another operation is under way)" if action.always else ""
        lines.append(f"| {action.name} | {when}{more} | {action.during} | {action.then} |")
    lines += ["", "| vm_state | status |", "|---|---|"]
    lines += [f"| {state} | {shown} |" for state, shown in states.STATUS.items()]
    return "\n".join(lines) + "\n"


def routes_page() -> str:
    """Every route of every service."""
    lines = ["# Routes", "", "Drawn from the code by `make docs`."]
    for service in services(Settings(state="/nonexistent")):
        lines += [
            "",
            f"## {service.name}",
            "",
            "| method | path | policy | microversions |",
            "|---|---|---|---|",
        ]
        for route in service.routes:
            action = f" `{route.action}`" if route.action else ""
            first = f"{route.since[0]}.{route.since[1]}" if route.since > (0, 0) else ""
            last = f"{route.until[0]}.{route.until[1]}" if route.until < (999, 999) else ""
            span = f"{first}-{last}" if first or last else ""
            lines.append(f"| {route.method} | `{service.prefix}{route.path}`{action} | {route.policy} | {span} |")
    return "\n".join(lines) + "\n"


PAGES = {"states.md": states_page, "routes.md": routes_page}


def main() -> int:
    """Write the pages, or compare them."""
    stale = [name for name, page in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != page()]
    if "--check" in sys.argv:
        print("\n".join(f"docs/{name} is stale: make docs" for name in stale))
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
