"""Writing the first state of a table that several snapshots will share.

The staging writes a table as usual, and then a view of it (see `shared_tables`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.plugins.postgres.engine import partitions, shared_tables
from hven.plugins.postgres.engine.position_search import CELL_COLUMN
from hven.plugins.postgres.engine.regions import name_cell_column
from hven.plugins.postgres.engine.schema_installation import quote_identifier, quote_literal
from hven.plugins.postgres.engine.shared_tables import DIED_COLUMN
from hven.plugins.postgres.engine.staging import PostgresSnapshotStaging
from hven.plugins.postgres.engine.table_records import SharedTableState, write_table_comment

if TYPE_CHECKING:
    from collections.abc import Iterator


class SharedTableStaging(PostgresSnapshotStaging):
    """A staging of a table that later changes are merged into in place."""

    @property
    def index_digest(self) -> str:
        """Digest of the keys and indexes of the shared table."""
        region_cells = [name_cell_column(name) for name in self._region_column_names]
        return shared_tables.compute_index_digest(self.table, [*self._write_index_sql(), *region_cells])

    @property
    def _quoted_view(self) -> str:
        """Quoted name of the snapshot's view."""
        return f"{quote_identifier(self._engine.schema)}.{quote_identifier(self.name)}"

    @property
    def _stored_column_names(self) -> list[str]:
        """Names of the columns that queries may need."""
        names = [column.name for column in self.table.columns]
        if self.table.position is not None:
            names.append(CELL_COLUMN)
        names += [name_cell_column(name) for name in self._region_column_names]
        return names

    def _write_create_statements(self, extra_columns_sql: str = "") -> Iterator[str]:
        """Write the statements that create the shared table."""
        self._target_table = shared_tables.build_shared_table_name(self.name)
        self._quoted_target = f"{quote_identifier(self._engine.schema)}.{quote_identifier(self._target_table)}"
        self._partitions = partitions.build_table_partitions(self.table, self._engine.schema, self._target_table)
        yield from super()._write_create_statements(
            f"{extra_columns_sql}, {shared_tables.write_state_column_definitions()}"
        )

    def _prepare_table_for_readers(self, connection: Any) -> None:
        """Index the table, and create the view of its first state."""
        self._build_indexes(connection)
        connection.execute(f"VACUUM (FREEZE, ANALYZE) {self._quoted_target}")
        base_table = shared_tables.build_shared_table_name(self.name)
        first_state = SharedTableState(base_table, shared_tables.FIRST_STATE)
        with connection.transaction():
            for statement in self._write_view_statements(first_state):
                connection.execute(statement)

    def _write_view_statements(self, shared_state: SharedTableState) -> Iterator[str]:
        """Write the statements that create the view of a state."""
        yield shared_tables.write_snapshot_view_statement(
            self._engine.schema, self.name, shared_state, self._stored_column_names
        )
        comment = write_table_comment(self.table, index_digest=self.index_digest, shared_state=shared_state)
        yield f"COMMENT ON VIEW {self._quoted_view} IS {quote_literal(comment)}"
        yield from self._write_grants(self.name)

    def _write_index_sql(self) -> list[str]:
        return shared_tables.write_shared_index_sql(super()._write_index_sql())

    def _index_primary_key(self, connection: Any, *other_columns: str) -> None:
        super()._index_primary_key(connection, *other_columns, DIED_COLUMN)
