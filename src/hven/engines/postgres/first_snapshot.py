"""Writing the first state of a table that snapshots will share.

Like every staging, and then a view of it (`sharing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.engines.postgres import partitions, shared_tables
from hven.engines.postgres.position_search import CELL_COLUMN
from hven.engines.postgres.regions import name_cell_column
from hven.engines.postgres.schema_installation import quote_identifier, quote_literal
from hven.engines.postgres.shared_tables import DIED_COLUMN
from hven.engines.postgres.staging import TableStaging
from hven.engines.postgres.table_records import SharedState, write_table_comment

if TYPE_CHECKING:
    from collections.abc import Iterator


class FirstStateStaging(TableStaging):
    """A staging of a table that is to be followed: the next changes are merged in place."""

    @property
    def index_digest(self) -> str:
        """How the shared table is keyed and indexed, in brief."""
        return shared_tables.compute_index_digest(
            self.table, [*self._list_indexes(), *map(name_cell_column, self._region_column_names)]
        )

    @property
    def _quoted_view(self) -> str:
        """The snapshot, quoted."""
        return f"{quote_identifier(self._engine.schema)}.{quote_identifier(self.name)}"

    @property
    def _stored_column_names(self) -> list[str]:
        """Columns that queries may need."""
        if self.table.position is not None:
            cell = [CELL_COLUMN]
        else:
            cell = []
        return [
            *(column.name for column in self.table.columns),
            *cell,
            *map(name_cell_column, self._region_column_names),
        ]

    def _write_create_statements(self, extra_columns_sql: str = "") -> Iterator[str]:
        """Write the statements that make the shared table."""
        self._target_table = shared_tables.build_shared_table_name(self.name)
        self._quoted_target = f"{quote_identifier(self._engine.schema)}.{quote_identifier(self._target_table)}"
        self._partitions = partitions.create_partitions(self.table, self._engine.schema, self._target_table)
        yield from super()._write_create_statements(f"{extra_columns_sql}, {shared_tables.write_state_columns()}")

    def _complete_snapshot(self, connection: Any) -> None:
        """Index the table, and make the snapshot of its first state."""
        self._build_indexes(connection)
        connection.execute(f"VACUUM (FREEZE, ANALYZE) {self._quoted_target}")
        with connection.transaction():
            for text in self._write_view_statements(
                SharedState(shared_tables.build_shared_table_name(self.name), shared_tables.FIRST_STATE)
            ):
                connection.execute(text)

    def _write_view_statements(self, share: SharedState) -> Iterator[str]:
        """Write the statements that make the snapshot of a state."""
        yield shared_tables.write_view_statement(self._engine.schema, self.name, share, self._stored_column_names)
        yield (
            f"COMMENT ON VIEW {self._quoted_view} IS "
            f"{quote_literal(write_table_comment(self.table, index_digest=self.index_digest, shared_state=share))}"
        )
        yield from self._write_grants(self.name)

    def _list_indexes(self) -> list[str]:
        return shared_tables.write_shared_indexes(super()._list_indexes())

    def _index_primary_key(self, connection: Any, *other_columns: str) -> None:
        super()._index_primary_key(connection, *other_columns, DIED_COLUMN)


__all__ = ["FirstStateStaging"]
