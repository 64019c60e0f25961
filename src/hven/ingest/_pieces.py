"""What clients pushed into one table, with what is not committed yet: the journal that the source kind ``push`` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from hven.site.store import Push, Pushes


class Pieces:
    """The pushed rows of a table as they will be.

    Parameters
    ----------
    pending
        Pushes of whatever tables that are to be committed with what is made now.
    """

    def __init__(self, pushes: Pushes, table: str, pending: Sequence[Push] = ()) -> None:
        self._pushes, self._table = pushes, table
        self._pending = [one for one in pending if one.table == table]

    def state(self) -> str:
        """Name the state: that of the last push."""
        return self._pending[-1].run if self._pending else self._pushes.state(self._table)

    def pieces(self, since: str | None = None) -> Sequence[pa.Table] | None:
        """Return the pieces since a state, the oldest first; None: it is not known."""
        found = self._pushes.pieces(self._table, since) if since is not None else self._pushes.pieces(self._table)
        return None if found is None else [*found, *(one.piece for one in self._pending if one.piece is not None)]
