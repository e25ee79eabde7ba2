"""The house's own rules: which way imports point, that docs tell the truth, that the schema is the models'."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import pileus.cloud  # noqa: F401  # every table
from pileus.cli import main
from pileus.db import Base, Database
from pileus.db.migrate import FOLDER, HEAD, upgrade
from pileus.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "pileus"
SERVICES = ("identity", "image", "network", "placement", "compute", "membership")
CONTROL = (*SERVICES, "api", "db", "edge", "operations", "cloud", "bootstrap", "replica", "supervisor", "cli")
SHARED = (
    "api",
    "db",
    "edge",
    "operations",
    "certificates",
    "clock",
    "errors",
    "files",
    "jointoken",
    "jsontypes",
    "logs",
    "sockets",
    "users",
    "values",
)


def imports(path: Path) -> set[str]:
    """Modules of pileus that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("pileus.")}


def files(*rooms: str) -> list[Path]:
    return [
        path
        for room in rooms
        for path in ([SRC / f"{room}.py"] if (SRC / f"{room}.py").exists() else (SRC / room).rglob("*.py"))
    ]


def offenders(paths: list[Path], *forbidden: str, but: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{path.relative_to(SRC)} imports {name}"
        for path in paths
        for name in sorted(imports(path))
        if any(name == f"pileus.{room}" or name.startswith(f"pileus.{room}.") for room in forbidden)
        and not any(name == f"pileus.{one}" or name.startswith(f"pileus.{one}.") for one in but)
    ]


def test_the_agent_knows_nothing_of_the_control_plane() -> None:
    assert offenders(files("agent"), *CONTROL) == []


def test_the_control_plane_knows_only_the_contract_of_the_agent() -> None:
    assert offenders(files(*SERVICES, "api", "db", "operations", "cloud"), "agent", but=("agent.commands",)) == []


def test_shared_rooms_know_no_service() -> None:
    assert offenders(files(*SHARED), *SERVICES, "cli") == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_reaches_into_anothers_routes(service: str) -> None:
    others = [f"{other}.routes" for other in SERVICES if other != service]
    assert offenders(files(service), *others) == []


SHOWS = {"style.py", "views.py", "listing.py", "links.py"}
"""Rooms of a service, beside its routes, that know how requests and responses look."""


def takes(function: ast.FunctionDef) -> set[str]:
    """The names in the annotations of what a function takes."""
    arguments = function.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    annotations = [one.annotation for one in every if one is not None and one.annotation is not None]
    nodes = [node for annotation in annotations for node in ast.walk(annotation)]
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }


def verbs(path: Path) -> list[ast.FunctionDef]:
    """The functions and methods of a file; those inside a function are its own affair."""
    tree = ast.parse(path.read_text())
    bodies = [tree.body, *(one.body for one in tree.body if isinstance(one, ast.ClassDef))]
    return [node for body in bodies for node in body if isinstance(node, ast.FunctionDef)]


def test_verbs_take_no_http_context() -> None:
    paths = [path for path in files(*SERVICES) if path.parent.name != "routes" and path.name not in SHOWS]
    http = [f"{path.relative_to(SRC)}: {one.name}" for path in paths for one in verbs(path) if "Context" in takes(one)]
    assert http == []
    assert [str(path.relative_to(SRC)) for path in paths if "import falcon" in path.read_text()] == []


def test_no_imports_go_in_circles() -> None:
    """Those for types only, and those inside functions, count as well."""
    paths = {module(path): path for path in SRC.rglob("*.py")}
    arrows = {
        name: runs(imported(path, set(paths)), set(paths)) - {name, *packages(name)} for name, path in paths.items()
    }
    while ends := {name for name, others in arrows.items() if not others}:
        arrows = {name: others - ends for name, others in arrows.items() if name not in ends}
    assert arrows == {}, "these import each other, or what does"


def module(path: Path) -> str:
    """The name of a file's module."""
    return ".".join(("pileus", *path.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")


def packages(name: str) -> set[str]:
    """The packages that a module is in; they are there before it is."""
    parts = name.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts))}


def runs(imports: set[str], modules: set[str]) -> set[str]:
    """What is run to import modules: those, and the `__init__` of the packages that they are in."""
    return imports | {package for name in imports for package in packages(name) & modules}


def imported(path: Path, modules: set[str]) -> set[str]:
    """The modules that a file imports: of `from package import module` the module, not the package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner if inner <= modules else inner | {node.module}
    return found & modules


def test_nothing_cites_what_is_not_in_the_repository() -> None:
    """Comments cite the API reference, a standard, or docs/."""
    elsewhere = re.compile(r"\b(FLOWS [A-Z]\b|(DESIGN|MODELS|FINDINGS|FLOWS)\.md)|/work/")
    pages = [path for folder in ("src", "tests", "docs", "tools") for path in (ROOT / folder).rglob("*.[pm][yd]")]
    cited = [str(path.relative_to(ROOT)) for path in pages if elsewhere.search(path.read_text())]
    assert [name for name in cited if name != "tests/unit/test_house.py"] == []


def test_what_the_docs_name_is_there() -> None:
    """Every relative link leads to a file, every program, test and page in backticks is one of the repository's."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    rooms = [ROOT / room for room in ("src", "tests", "docs", "tools", "bench")]
    known = {f"/{path.relative_to(ROOT)}" for room in rooms for path in room.rglob("*.*")} | {"/README.md"}
    links = [(page, link) for page in pages for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text())]
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []
    named = [(page, name) for page in pages for name in re.findall(r"`([\w./-]+\.(?:md|py|sh))`", page.read_text())]
    assert len(named) > 30
    assert [(page.name, name) for page, name in named if not any(path.endswith(f"/{name}") for path in known)] == []


def test_commands_that_the_docs_name_are_there() -> None:
    """With every option: those in backticks that begin with "pileus", and those in indented examples."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = [
        one for page in pages for one in re.findall(r"(?:`|^    )(pileus [^`#\n]+)", page.read_text(), re.MULTILINE)
    ]
    assert len(named) > 50
    assert {one: why for one in named if (why := unknown_in(one))} == {}


def unknown_in(line: str) -> list[str]:
    """The verbs and options of a command line that there are not."""
    command: click.Command = main
    missing = []
    for word in line.split()[1:]:
        known = [name for one in command.params for name in (*one.opts, *one.secondary_opts)]
        if option := re.match(r"\[?(--[a-z-]+)", word):
            missing += [option[1]] if option[1] not in [*known, "--help"] else []
        elif isinstance(command, click.Group):
            missing += [word] if word not in command.commands else []
            command = command.commands.get(word, command)
    return missing


def test_every_setting_is_explained_and_read() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert re.findall(r"^\| `(\w+)` .*\|  \|$", page, re.MULTILINE) == []
    code = "\n".join(path.read_text() for path in SRC.rglob("*.py"))
    names = Settings.__struct_fields__
    assert [name for name in names if f"| `{name}` |" not in page or not re.search(rf"\w\.{name}\b", code)] == []


def test_files_and_functions_have_a_longest_length() -> None:
    pages = [path for path in SRC.rglob("*.py") if FOLDER not in path.parents]
    assert [path.name for path in pages if len(path.read_text().splitlines()) >= 400] == []
    functions = [
        (path.name, node.name, (node.end_lineno or 0) - node.lineno)
        for path in pages
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [one for one in functions if one[2] > 60] == []


def test_drawn_documentation_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "make-docs.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_migrations_make_the_tables_of_the_models(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/t.db")
    upgrade(db, tmp_path)
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert sorted(path.name for path in (FOLDER / "versions").glob("0*.py"))[-1].startswith(HEAD)


def test_an_upgrade_backs_up_what_is_there(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/t.db")
    assert upgrade(db, tmp_path / "backups") is None
    assert not (tmp_path / "backups").exists()
    with db.write() as session:
        from sqlalchemy import text

        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(Exception, match="0000"):
        upgrade(db, tmp_path / "backups")
    assert len(list((tmp_path / "backups").iterdir())) == 1
