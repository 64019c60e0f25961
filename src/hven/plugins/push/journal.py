"""The journal that the source reads: the rows that clients pushed, with uncommitted ones.

It consists of pieces, of which later ones replace earlier ones. A piece has whole rows, with a mark on deleted ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.push.push_store import ClientPush, ClientPushStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from hven.sources import SourceContext


class JournalWithPendingPushes:
    """The journal of a table as it will be when the present run is committed.

    Parameters
    ----------
    push_store
        The committed pushes.
    table
        ``schema.table``.
    pending
        Pushes into any table that the present run commits.
    """

    def __init__(self, push_store: ClientPushStore, table: str, pending: Sequence[ClientPush] = ()) -> None:
        self._push_store = push_store
        self._table = table
        self._pending = [pending_push for pending_push in pending if pending_push.table == table]

    def read_state_name(self) -> str:
        """Return the name of the state, which is the last push."""
        if self._pending:
            return self._pending[-1].run
        return self._push_store.find_state_name(self._table)

    def list_journal_pieces(self, since_state: str | None = None) -> Sequence[pa.Table] | None:
        """Return the pieces since a state, the oldest first; None: the state is not known."""
        if since_state is not None:
            stored_pieces = self._push_store.read_pushed_pieces(self._table, since_state)
        else:
            stored_pieces = self._push_store.read_pushed_pieces(self._table)
        if stored_pieces is None:
            return None
        pending_pieces = [push.piece for push in self._pending if push.piece is not None]
        return [*stored_pieces, *pending_pieces]


def open_journal(context: SourceContext) -> JournalWithPendingPushes | None:
    """Open the journal of the table that a source fills; None: this is a first look, without the system state."""
    if context.open_records is None:
        return None
    pending_pushes = [write for write in context.pending_writes if isinstance(write, ClientPush)]
    return JournalWithPendingPushes(context.open_records(ClientPushStore), context.table_name, pending_pushes)
