"""Writing the first state of a table that snapshots will share: like every staging, and then a view of it (`sharing`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.engines.postgres import partitions
from hven.engines.postgres import shared_tables as sharing
from hven.engines.postgres.install import literal, quote
from hven.engines.postgres.places import CELL
from hven.engines.postgres.regions import beside
from hven.engines.postgres.relations import Share, remembering
from hven.engines.postgres.shared_tables import DIED
from hven.engines.postgres.staging import TableStaging

if TYPE_CHECKING:
    from collections.abc import Iterator


class Founding(TableStaging):
    """A staging of a table that is to be followed: the next changes are merged in place."""

    @property
    def made(self) -> str:
        """How the shared table is keyed and indexed, in brief."""
        return sharing.digest(self.table, [*self._indexes(), *map(beside, self._regions)])

    @property
    def _view(self) -> str:
        """The snapshot, quoted."""
        return f"{quote(self._engine.schema)}.{quote(self.name)}"

    @property
    def _names(self) -> list[str]:
        """Columns that queries may need."""
        cell = [CELL] if self.table.position is not None else []
        return [*(column.name for column in self.table.columns), *cell, *map(beside, self._regions)]

    def _begin(self, more: str = "") -> Iterator[str]:
        """Write the statements that make the shared table."""
        self._into = sharing.named(self.name)
        self._here = f"{quote(self._engine.schema)}.{quote(self._into)}"
        self._pieces = partitions.of(self.table, self._engine.schema, self._into)
        yield from super()._begin(f"{more}, {sharing.columns()}")

    def _complete(self, connection: Any) -> None:
        """Index the table, and make the snapshot of its first state."""
        self._index(connection)
        connection.execute(f"VACUUM (FREEZE, ANALYZE) {self._here}")
        with connection.transaction():
            for text in self._seen(Share(sharing.named(self.name), sharing.FIRST)):
                connection.execute(text)

    def _seen(self, share: Share) -> Iterator[str]:
        """Write the statements that make the snapshot of a state."""
        yield sharing.view(self._engine.schema, self.name, share, self._names)
        yield f"COMMENT ON VIEW {self._view} IS {literal(remembering(self.table, made=self.made, share=share))}"
        yield from self._grants(self.name)

    def _indexes(self) -> list[str]:
        return sharing.indexes(super()._indexes())

    def _primary(self, connection: Any, *beside: str) -> None:
        super()._primary(connection, *beside, DIED)


__all__ = ["Founding"]
