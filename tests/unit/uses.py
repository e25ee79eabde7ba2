"""What projects use, as the database keeps it, compared with the rows that there are."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import func, select

from pileus.api.quota_uses import Counted, QuotaUse
from pileus.compute import quotas as compute
from pileus.db import Database
from pileus.image import quotas as image
from pileus.network import quotas as network

EVERY: tuple[Counted, ...] = (compute.SERVERS, compute.MOVES, compute.GROUPS, *network.COUNTED, image.STORED)


def compare(db: Database) -> None:
    """What is kept is what there is."""
    with db.read() as session:
        kept = select(QuotaUse.service, QuotaUse.project_id, QuotaUse.resource, func.sum(QuotaUse.amount))
        rows = session.execute(kept.group_by(QuotaUse.service, QuotaUse.project_id, QuotaUse.resource))
        there: Counter[tuple[str, ...]] = Counter()
        for one in EVERY:
            there.update({(one.service, *key): used for key, used in one.count(session).items()})
        assert {tuple(row[:3]): int(row[3]) for row in rows if row[3]} == {key: n for key, n in there.items() if n}
