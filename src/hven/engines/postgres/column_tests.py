"""Looks at a column of a new snapshot for what shows its statistics, and lets the database find it: a few values, not the column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.engines.postgres.dialect import storage
from hven.engines.postgres.install import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.engines import Snapshot
    from hven.engines.postgres.machine import Machine
    from hven.model.table import Table

    Facts = Mapping[str, object]

FEW = 0.01  # distinct values of the rows: below, one that is as extreme is found soon


class Witnesses:
    """How `hven.engines._revising.revised` looks at a column (its `Look`): only if an extreme may have gone with the rows that went.

    First come values that are as extreme as those, if a column has few values or an index, and texts as long as the longest that went, or
    not in ASCII, if there are any. If they are not enough, the extremes themselves come: of all columns that may have lost theirs, by
    one pass inside the server.

    Parameters
    ----------
    here
        The new snapshot, quoted.
    base
        The one from which rows went.
    going
        Statistics of these.
    """

    def __init__(self, engine: Machine, table: Table, here: str, base: Snapshot, going: Mapping[str, Facts]) -> None:
        self._engine, self._table, self._here, self._base, self._going = engine, table, here, base, going
        self._alike: dict[str, pa.Array] = {}
        self._ends: dict[str, pa.Array] = {}
        self._longest: dict[str, pa.Array] = {}

    def __call__(self, name: str) -> Iterator[pa.Array]:
        """Yield witnesses, as long as they are wanted."""
        if name not in self._alike:
            self._alike[name] = self._look_alike(name)
        yield self._alike[name]
        if name not in self._ends:
            self._look_for_ends(name)
        yield self._ends[name]
        if self._lost(name, "max_length"):
            if name not in self._longest:
                text = f"SELECT {quote(name)} FROM {self._here} WHERE {quote(name)} IS NOT NULL ORDER BY char_length({quote(name)}) DESC LIMIT 1"
                self._longest[name] = self._array(name, [row[0] for row in self._asked(text)])
            yield self._longest[name]

    def _lost(self, name: str, fact: str) -> bool:
        """Return whether what went was as extreme as all."""
        went = self._going[name].get(fact)
        return went is not None and went == self._base.statistics[name].get(fact)

    def _indexed(self, name: str) -> bool:
        return self._table.column(name).indexed or name == self._table.primary[0]

    def _few(self, name: str) -> bool:
        """Return whether a column has few values."""
        distinct = self._base.statistics[name].get("distinct", 0)
        return isinstance(distinct, int | float) and distinct <= FEW * self._base.rows

    def _look_alike(self, name: str) -> pa.Array:
        """Find values like those that went."""
        column, facts, quoted = self._table.column(name), self._going[name], quote(name)
        tests: list[str] = []
        values: list[str] = []
        if self._few(name) or self._indexed(name):
            for extreme in ("minimum", "maximum"):
                if self._lost(name, extreme):
                    values.append(str(facts[extreme]))
                    tests.append(f"{quoted} = CAST(${len(values)}::text AS {storage(column.type)})")
        if self._lost(name, "max_length"):
            values.append(str(facts["max_length"]))
            tests.append(f"char_length({quoted}) = CAST(${len(values)}::text AS int)")
        if facts.get("non_ascii"):
            tests.append(f"octet_length({quoted}) <> char_length({quoted})")
        if not tests:
            return self._array(name, [])
        parts = [f"(SELECT {quoted} FROM {self._here} WHERE {test} LIMIT 1)" for test in tests]
        return self._array(name, [row[0] for row in self._asked(" UNION ALL ".join(parts), values)])

    def _look_for_ends(self, name: str) -> None:
        """Find the extremes of a column; if that takes a pass, of all columns of many values that may have lost one."""
        wanted = [name]
        if not self._indexed(name) and not self._few(name):
            wanted += [
                other
                for other in self._going
                if other != name
                and (self._lost(other, "minimum") or self._lost(other, "maximum"))
                and not self._indexed(other)
                and not self._few(other)
            ]
        calls = [f"{call}({quote(each)})" for each in wanted for call in self._calls(each)]
        (found,) = self._asked(f"SELECT {', '.join(calls)} FROM {self._here}")
        for at, each in enumerate(wanted):
            self._ends[each] = self._array(each, found[2 * at : 2 * at + 2])

    def _calls(self, name: str) -> tuple[str, str]:
        return ("bool_and", "bool_or") if storage(self._table.column(name).type) == "boolean" else ("min", "max")

    def _asked(self, text: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        with self._engine.writers.borrowed() as connection:
            rows: list[tuple[Any, ...]] = connection.execute(text, values).fetchall()
        return rows

    def _array(self, name: str, values: Sequence[object]) -> pa.Array:
        return pa.array([value for value in values if value is not None], self._table.column(name).type.arrow)


__all__ = ["Witnesses"]
