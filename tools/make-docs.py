"""Writes the pages of docs/ that are drawn from code; `--check` only says whether they are up to date."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

from pileus.agent.commands import PowerState
from pileus.cloud import services
from pileus.compute import actions, states
from pileus.settings import Settings

POWER = {
    PowerState.SHUTDOWN: "shuts down",
    PowerState.CRASHED: "crashes",
    PowerState.PAUSED: "is held",
    PowerState.RUNNING: "runs",
}
"""What guests do by themselves."""
DOCS = Path(__file__).resolve().parents[1] / "docs"


def states_page() -> str:
    """Server states and actions as a diagram and a table."""
    lines = [
        "# Server states",
        "",
        "Drawn from `src/pileus/compute/actions` and `states.py` by `make docs`.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> building: create",
        "    building --> active: built",
        "    building --> error: no host could build it",
    ]
    rows = [flow.transition for flow in actions.FLOWS]
    for row in rows:
        lines += [f"    {state} --> {row.then or state}: {row.name}" for state in sorted(row.when)]
        lines += [f"    {state} --> {row.failed}: {row.name} failed" for state in sorted(row.when) if row.failed]
    for (state, power), then in states.BY_ITSELF.items():
        lines.append(f"    {state} --> {then}: the guest {POWER[power]}")
    lines += [
        "    deleted --> [*]",
        "```",
        "",
        "| action | from vm_state | task_state meanwhile | vm_state after | vm_state when it failed |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        when = ", ".join(sorted(row.when)) or "(none yet)"
        more = " (also while another operation is under way)" if row.wins else ""
        then, failed = row.then or "as before", row.failed or "as before"
        lines.append(f"| {row.name} | {when}{more} | {row.during or ''} | {then} | {failed} |")
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
            first, last = route.since or "", route.until or ""
            span = f"{first}-{last}" if first or last else ""
            lines.append(
                f"| {route.method} | `{service.prefix}{route.path}`{action} | {' or '.join(route.rules)} | {span} |"
            )
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Every setting with its type and default, and what the code says of it."""
    source = Path(inspect.getfile(Settings)).read_text()
    lines = [
        "# Settings",
        "",
        "Drawn from `src/pileus/settings.py` by `make docs`. They are kept in `settings.json` of the state directory:",
        "those of the command line by `pileus up`, the others by hand while the cloud is down. Times are seconds,",
        "sizes name their unit.",
        "",
        "| setting | type | default | |",
        "|---|---|---|---|",
    ]
    tree = next(
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    for number, node in enumerate(tree.body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        default = ast.unparse(node.value) if node.value is not None else "(needed)"
        default = "(made up)" if "default_factory" in default else default
        after = tree.body[number + 1] if number + 1 < len(tree.body) else None
        said = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
        kind = ast.unparse(node.annotation).replace("|", "or")
        lines.append(f"| `{node.target.id}` | {kind} | `{default}` | {' '.join(str(said).split())} |")
    return "\n".join(lines) + "\n"


PAGES = {"settings.md": settings_page, "states.md": states_page, "routes.md": routes_page}


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
