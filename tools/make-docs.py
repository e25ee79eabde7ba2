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
IS = {PowerState.SHUTDOWN: "is off", PowerState.PAUSED: "is held", PowerState.RUNNING: "runs"}
"""How guests are found."""
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
    ]
    lines += [f"    [*] --> {then}: adopt, the guest {IS[power]}" for power, then in states.ADOPTED.items()]
    rows = [one.transition for one in actions.ACTIONS]
    for row in rows:
        whence = sorted(row.when)
        lines += [f"    {state} --> {row.after(state)}: {row.name}" for state in whence if row.then is not None]
        lines += [f"    {state} --> {row.failed}: {row.name} failed" for state in whence if row.failed is not None]
    lines += [f"    {state} --> {states.BROKEN}: a defect" for state in sorted(states.ANY - {states.BROKEN})]
    for (state, power), then in states.BY_ITSELF.items():
        lines.append(f"    {state} --> {then}: the guest {POWER[power]}")
    lines += [
        "    deleted --> [*]",
        "```",
        "",
        "Actions that leave the vm_state as it is are in the table only. A defect is one that the end of an action",
        "hits again and again. A server that is given its guest back (`pileus guest adopt`) goes where an adopted one",
        "begins.",
        "",
        "| action | from vm_state | task_state meanwhile | vm_state after | vm_state when it failed |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(row) for row in rows]
    lines += ["", "| vm_state | status |", "|---|---|"]
    lines += [f"| {state} | {shown} |" for state, shown in states.STATUS.items()]
    return "\n".join(lines) + "\n"


def _row(row: states.Transition) -> str:
    """A row of the table of actions."""
    beside = {row.wins: ", which is cancelled", row.beside: ", which goes on"}.get(True)
    more = f" (also while another operation is under way{beside})" if beside else ""
    after: dict[str, list[str]] = {}
    for state in sorted(row.when):
        after.setdefault(row.after(state), []).append(state)
    only = next(iter(after))
    several = "; ".join(f"{then} (from {', '.join(whence)})" for then, whence in after.items())
    then = "as before" if row.then is None else only if len(after) == 1 else several
    cells = (row.name, ", ".join(sorted(row.when)) + more, ", ".join(row.during), then, row.failed or "as before")
    return f"| {' | '.join(cells)} |"


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
