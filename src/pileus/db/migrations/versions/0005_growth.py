"""Growth: the database keeps what projects use; lists of everybody's servers and ports go by indexes.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.String(length=255)
SERVERS = ("compute", "project_id", ["deleted_at", "flavor", "project_id"], "{row}.deleted_at IS NULL AND ")
PORTS = ("network", "project_id", ["device_owner", "project_id"], "{row}.device_owner != 'network:distributed' AND ")
IMAGES = ("image", "owner", ["owner", "size", "status"], "")
AMOUNTS = {
    "servers": {"instances": "1", "cores": "CAST({vcpus} AS INTEGER)", "ram": "CAST({ram} AS INTEGER)"},
    "images": {
        "image_count_total": "1",
        "image_size_total": "coalesce({row}.size, 0)",
        "image_count_uploading": "CASE WHEN ({row}.status = 'saving') THEN 1 ELSE 0 END",
    },
    "server_groups": {"server_groups": "1"},
}
NAMES = {"sqlite": "JSON_EXTRACT({row}.flavor, '$.\"%s\"')", "postgresql": "{row}.flavor ->> '%s'"}
"""How a member of a server's flavor is read."""


def upgrade() -> None:
    there, gone = sa.text("deleted_at IS NULL"), sa.text("deleted_at IS NOT NULL")
    op.drop_index("ix_servers_list", "servers")
    for name, columns, where in (
        ("ix_servers_list", ["project_id", "created_at", "id"], there),
        ("ix_servers_everybodys", ["created_at", "id"], there),
        ("ix_servers_deleted", ["deleted_at"], gone),
    ):
        op.create_index(name, "servers", columns, sqlite_where=where, postgresql_where=where)
    op.create_index("ix_servers_updated", "servers", ["updated_at"])
    op.create_index("ix_ports_list", "ports", ["created_at", "id"])
    op.create_index("ix_ports_mac", "ports", ["mac_address"])
    op.create_index("ix_ports_names", "ports", ["network_id", "dns_name"])
    op.drop_index("ix_ports_network_id", "ports")
    op.create_table(
        "quota_uses",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("service", "project_id", "resource")),
        sa.Column("amount", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_uses")),
    )
    op.create_index("ix_quota_uses_sum", "quota_uses", ["service", "project_id", "resource", "amount"])
    for table, counted in _counted().items():
        _fill(table, *counted)
        _keep(table, *counted)


def _counted() -> dict[str, tuple[str, str, list[str], str]]:
    """By table: the service, whose a row is, the columns that its count depends on, which rows count."""
    others = ("networks", "subnets", "security_groups", "security_group_rules")
    plain = {table: ("network", "project_id", ["project_id"], "") for table in others}
    groups = ("compute", "project_id", ["project_id"], "")
    return {"servers": SERVERS, "ports": PORTS, "images": IMAGES, "server_groups": groups} | plain


def _amounts(table: str, row: str) -> dict[str, str]:
    """What a row counts as, by resource."""
    read = NAMES[op.get_bind().dialect.name]
    members = {name: (read % name).format(row=row) for name in ("vcpus", "ram")}
    amounts = AMOUNTS.get(table, {table.removesuffix("s"): "1"})
    return {name: amount.format(row=row, **members) for name, amount in amounts.items()}


def _fill(table: str, service: str, project: str, _columns: list[str], where: str) -> None:
    condition = f"{where.format(row=table)}{table}.{project} IS NOT NULL"
    for name, amount in _amounts(table, table).items():
        op.execute(
            f"INSERT INTO quota_uses (service, project_id, resource, amount) SELECT '{service}', {project}, '{name}', "  # noqa: S608
            f"sum({amount}) FROM {table} WHERE {condition} GROUP BY {project} HAVING sum({amount}) <> 0"
        )


def _keep(table: str, service: str, project: str, columns: list[str], where: str) -> None:
    """Triggers that enter what changes from now on."""

    def entries(row: str) -> str:
        sign = "-" if row == "OLD" else ""
        parts = " UNION ALL ".join(
            f"SELECT '{name}' AS resource, {sign}({amount}) AS amount" for name, amount in _amounts(table, row).items()
        )
        return (
            f"INSERT INTO quota_uses (service, project_id, resource, amount) SELECT '{service}', "  # noqa: S608
            f"{row}.{project}, resource, amount FROM ({parts}) AS parts "
            f"WHERE {where.format(row=row)}{row}.{project} IS NOT NULL AND amount <> 0;"
        )

    old, new, changed = entries("OLD"), entries("NEW"), f"UPDATE OF {', '.join(columns)}"
    if op.get_bind().dialect.name == "sqlite":
        for verb, events, body in (("in", "INSERT", new), ("out", "DELETE", old), ("change", changed, f"{old} {new}")):
            _run(f"CREATE TRIGGER quota_{table}_{verb} AFTER {events} ON {table} BEGIN {body} END")
        return
    body = f"IF TG_OP <> 'INSERT' THEN {old} END IF; IF TG_OP <> 'DELETE' THEN {new} END IF; RETURN NULL;"
    _run(f"CREATE FUNCTION quota_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
    when = f"AFTER INSERT OR DELETE OR {changed} ON {table}"
    _run(f"CREATE TRIGGER quota_{table} {when} FOR EACH ROW EXECUTE FUNCTION quota_{table}()")


def _run(statement: str) -> None:
    op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
