"""Which guest of a server that moves has which incarnation: everybody who needs one asks here.

A server's guests are told apart by their incarnations, across hosts: whatever is owed or said of an older one does not
touch a newer one. A new one is always `Server.next_incarnation`, which no guest of the server ever had; from there on a
move counts up.
"""

from __future__ import annotations

import msgspec


class Incarnations(msgspec.Struct, frozen=True):
    """Of the guests that a move has, while it goes to one destination.

    Attributes:
        source: of the guest on the source. One that is resized or migrated is set aside there as this, one that is
            migrated live runs there as this; of one that is evacuated it is the newest that the dead host may have.
    """

    source: int

    @classmethod
    def to(cls, dest: int) -> Incarnations:
        """Those of an evacuation, whose source keeps the guest that it has: only the destination's is new."""
        return cls(dest - 1)

    @property
    def dest(self) -> int:
        """Of the guest on the destination."""
        return self.source + 1

    @property
    def restored(self) -> int:
        """Of the guest that the source has again once it was taken back from the destination."""
        return self.source + 2

    def again(self) -> Incarnations:
        """Those of the next try, of a server that was taken back from this destination."""
        return Incarnations(self.restored + 1)
