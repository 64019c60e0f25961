"""DuckPlan: a bound query turned into SQL text once, and the roads that indexes open for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.adql import sql as writer
from hven.engines.duckdb.dialect import DuckDB
from hven.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.adql.tree import Bound
    from hven.engines import Execution, Limits, Relation
    from hven.engines.duckdb.engine import DuckEngine


class DuckPlan:
    """A prepared query (`hven.engines.Plan`)."""

    small = False

    def __init__(self, engine: DuckEngine, bound: Bound, *, lenient: bool = False) -> None:
        self._engine = engine
        self._bound = bound
        self._names = sql_names(bound)
        self._written = writer.write(bound, DuckDB(lenient=lenient), {name: quote(text) for name, text in self._names.items()})
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound.columns])

    def execute(self, values: Sequence[float | str | None], relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`."""
        rows = {text: self._engine.rows(_wanted(relations, name)) for name, text in self._names.items()}
        return self._engine.run(self._written.sql, self._arguments(values), rows, self.schema, limits)

    def _arguments(self, values: Sequence[float | str | None]) -> list[Any]:
        return [values[slot] for slot in self._written.slots]

    def explain(self) -> str:
        """Say which road will be taken; see `hven.engines.Plan.explain`."""
        return f"DuckDB over all rows:\n{self._written.sql}"


def sql_names(bound: Bound) -> dict[str, str]:
    """Give every stored table of a query its name in DuckDB."""
    return {table.qualified: table.qualified for table in bound.tables}


def quote(name: str) -> str:
    """Write a delimited identifier."""
    return '"' + name.replace('"', '""') + '"'


def _wanted(relations: Mapping[str, Relation], name: str) -> Relation:
    if name not in relations:
        message = f"nobody said where the rows of {name} are"
        raise StorageError(message)
    return relations[name]
