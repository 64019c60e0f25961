"""What clients pushed into one table, with what is not committed yet.

The journal that the source kind ``push`` reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from hven.site.store import ClientPush, PushStore


class PendingPushJournal:
    """The pushed rows of a table as they will be.

    Parameters
    ----------
    pending
        Pushes of whatever tables that are to be committed with what is made now.
    """

    def __init__(self, push_store: PushStore, table: str, pending: Sequence[ClientPush] = ()) -> None:
        self._push_store = push_store
        self._table = table
        self._pending = [pending_push for pending_push in pending if pending_push.table == table]

    def read_state_name(self) -> str:
        """Name the state: that of the last push."""
        if self._pending:
            return self._pending[-1].run
        return self._push_store.find_state_name(self._table)

    def list_pieces(self, since_state: str | None = None) -> Sequence[pa.Table] | None:
        """Return the pieces since a state, the oldest first; None: it is not known."""
        if since_state is not None:
            stored_pieces = self._push_store.read_pieces(self._table, since_state)
        else:
            stored_pieces = self._push_store.read_pieces(self._table)
        if stored_pieces is None:
            return None
        return [
            *stored_pieces,
            *(pending_push.piece for pending_push in self._pending if pending_push.piece is not None),
        ]
