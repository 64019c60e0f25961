"""Queries over tables of several engines: what is asked where, what is copied, and the plan that does it.

One engine computes the answer (the host). Of every table that another engine has, the columns and rows that the query can
need are asked there: with the conditions on that table alone, with the reader's own row filter, and, where a join by key
leads to it from few rows, with the keys of these rows. What comes back stands in the query in place of the table.

Names and conditions are found when the plan is made; literals stay in their slots, so a plan can be used again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.text import write
from hven.adql.tree import Compare, Ident, Join, Meta, TableRef
from hven.engines import Execution, Limits, Memory, Plan
from hven.engines.gather import Gathering, Room, asked, column_of
from hven.model.errors import TooLarge, say
from hven.model.table import Column, Table
from hven.model.types import BOOLEAN
from hven.query._parts import JoinKey, replaced, survey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.tree import Bound, Expr
    from hven.engines import Relation
    from hven.model.settings import QueryLimits
    from hven.site import Engines

    Values = Sequence[float | str | None]

COPIES, KEYS = "hven_copy", "hven_keys"  # schemas of what is copied and of keys; no collection can have these names
# how many times as many rows another engine must have before the embedded one is not the host: copies cost nothing there
BIASED = 4.0


def prepare(bound: Bound, engines: Engines, relations: Mapping[str, Relation], limits: QueryLimits) -> Plan:
    """Plan a bound query on the engine that has its tables, or over several engines.

    Parameters
    ----------
    relations
        Where the rows of its tables are, by qualified name.

    Raises
    ------
    BindError, StorageError
        An engine refuses the query, or cannot be opened.
    """
    homes = {name: one.engine for name, one in relations.items() if not isinstance(one, Memory)}
    names = set(homes.values())
    if not names:
        return engines.embedded.prepare(bound)
    if len(names) == 1:
        return engines.answering(names.pop()).prepare(bound)
    return MixedPlan(bound, engines, homes, relations, limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A query on one table in its own engine: `whole` of it, or, if there is a `link`, those rows that meet the keys of another table."""

    number: int
    engine: str
    table: Table
    columns: tuple[Column, ...]
    conditions: tuple[Expr, ...]
    guarded: bool
    whole: Plan
    narrow: Plan | None = None
    link: JoinKey | None = None
    expected: float = 0.0

    @property
    def name(self) -> str:
        """Name of what it gives, in the rest of the query."""
        return f"{COPIES}.t{self.number}"


class MixedPlan(Plan):
    """A plan over several engines (`hven.engines.Plan`)."""

    small = False

    def __init__(
        self,
        bound: Bound,
        engines: Engines,
        homes: Mapping[str, str],
        relations: Mapping[str, Relation],
        limits: QueryLimits,
    ) -> None:
        self.limits = limits
        self._bound = bound
        self._engines = engines
        self._survey = survey(bound, homes, relations, limits.copy_keys)
        self.host = self._host(engines.embedded.name)
        self.foreign = [one.number for one in self._survey.in_order() if one.engine not in {None, self.host}]
        self._asks: dict[tuple[int, str | None], Ask] = {}
        self.copies = [self._ask(number, None) for number in self.foreign]
        rest = self._remainder()
        self.left = tuple(table.qualified for table in rest.tables)
        self.rest = engines.answering(self.host).prepare(rest)
        self.schema = self.rest.schema

    def _host(self, embedded: str) -> str:
        """Choose the engine that has most of the rows that are left after the conditions on single tables."""
        sums: dict[str, float] = {}
        for one in self._survey.refs.values():
            if one.engine is not None:
                sums[one.engine] = sums.get(one.engine, 0.0) + max(one.reduced, 1.0)
        if embedded in sums:
            sums[embedded] *= BIASED
        return max(sorted(sums), key=lambda name: sums[name])

    # --- what is asked ---------------------------------------------------------------------------------------

    def _ask(self, number: int, key: str | None) -> Ask:
        """Plan what is asked of a table: the columns that the rest of the query needs, or one column of distinct `key`s."""
        known = self._asks.get((number, key))
        if known is not None:
            return known
        ref = self._survey.refs[number]
        if ref.engine is None or ref.node.table is None:
            raise TypeError("rows in memory are not asked for")
        columns = ref.columns if key is None else (ref.node.table.column(key),)
        engine = self._engines.answering(ref.engine)
        link = ref.link
        narrow = None
        if link is not None:
            self._keys_of(link)
            narrow = engine.prepare(self._query(ref.node, columns, ref.conditions, key is not None, link))
        made = Ask(
            number=number,
            engine=ref.engine,
            table=ref.node.table,
            columns=columns,
            conditions=ref.conditions,
            guarded=ref.node.where is not None,
            whole=engine.prepare(self._query(ref.node, columns, ref.conditions, key is not None, None)),
            narrow=narrow,
            link=link,
            expected=ref.reduced,
        )
        self._asks[number, key] = made
        return made

    def _keys_of(self, link: JoinKey) -> Ask | None:
        """Plan where the keys of a link come from; None: from rows that are in memory then."""
        if link.driver in self.foreign or self._survey.refs[link.driver].engine is None:
            return None
        return self._ask(link.driver, link.other.name)

    def _query(
        self,
        node: TableRef,
        columns: tuple[Column, ...],
        conditions: tuple[Expr, ...],
        distinct: bool,
        link: JoinKey | None,
    ) -> Bound:
        join = None
        if link is not None:
            keys = _keys(link)
            number = max(self._survey.numbers, default=0) + 1
            other = TableRef((Ident(KEYS), Ident(keys.name)), number=number, table=keys)
            same = Compare(
                "=", column_of(link.column, node.number), column_of(keys.columns[0], number), meta=Meta(BOOLEAN)
            )
            join = Join(node, other, "INNER", on=same)
        return asked(self._bound, node, columns, conditions, join, distinct=distinct)

    def _remainder(self) -> Bound:
        """Return the query with copies in place of foreign tables, without the conditions that were asked there."""
        foreign = set(self.foreign)
        tables = {ask.name: _copy(ask) for ask in self.copies}
        moved = {id(condition) for number in foreign for condition in self._survey.refs[number].moved}
        query = replaced(self._bound.query, foreign, tables, moved)
        kept = [one.node.table for one in self._survey.refs.values() if one.number not in foreign]
        named = {table.qualified: table for table in (*kept, *tables.values()) if table is not None}
        return replace(self._bound, query=query, tables=tuple(named.values()))

    # --- running ---------------------------------------------------------------------------------------------

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`. Nothing is asked before the first batch is."""
        return MixedExecution(self, values, relations, limits)

    def explain(self) -> str:
        """Describe what is asked where and what is copied."""
        lines = [
            f"tables of {len({one.engine for one in self._survey.refs.values() if one.engine})} engines; {self.host} computes the answer"
        ]
        for ask in self._asks.values():
            lines += self._told(ask)
        lines.append(
            f"at most {self.limits.copy_rows:,} rows and {self.limits.copy_bytes:,} bytes are copied (limits.copy_rows, limits.copy_bytes)"
        )
        return "\n".join([*lines, f"then in {self.host}:", *_indented(self.rest.explain())])

    def _told(self, ask: Ask) -> list[str]:
        columns = ", ".join(column.name for column in ask.columns)
        what = "copied to" if ask in self.copies else "keys for the others, asked in"
        where = f"{what} {self.host} from {ask.engine}" if ask in self.copies else f"{what} {ask.engine}"
        lines = [f"{where}: {ask.table.qualified} ({columns}), about {round(ask.expected):,} rows"]
        lines += [f"  where {write(condition)}" for condition in ask.conditions]
        if ask.guarded:
            lines.append("  after the filter of the rows that the reader may see")
        if ask.link is not None:
            driver = self._survey.refs[ask.link.driver].node.table
            whose = driver.qualified if driver is not None else ""
            lines.append(
                f"  only where {ask.link.column.name} is among the keys {whose}.{ask.link.other.name}, if these are at most {self.limits.copy_keys:,}"
            )
        return lines + _indented((ask.narrow or ask.whole).explain())


class MixedExecution(Gathering):
    """A running query over several engines (`hven.engines.Execution`)."""

    def __init__(self, plan: MixedPlan, values: Values, relations: Mapping[str, Relation], limits: Limits) -> None:
        super().__init__(plan.rest, plan.left, values, relations, limits)
        self._plan = plan
        self._room = Room(plan.limits.copy_rows, plan.limits.copy_bytes)
        self._keys: dict[tuple[int, str], pa.Table | None] = {}

    def _fetch(self) -> Iterator[tuple[str, pa.Table]]:
        for ask in self._plan.copies:
            plan, names = self._narrowed(ask)
            rows = (
                ask.whole.schema.empty_table()
                if plan is None
                else self._fetched(plan, names, self._room, self._too_much(ask))
            )
            yield ask.name, rows

    def _narrowed(self, ask: Ask) -> tuple[Plan | None, list[str]]:
        """Choose the plan with keys if they are few, and name the tables that it reads; None: there is no key, so there is no row."""
        names = [ask.table.qualified]
        keys = None if ask.link is None else self._found(ask.link)
        if ask.narrow is None or ask.link is None or keys is None:
            return ask.whole, names
        if not keys.num_rows:
            return None, names
        name = _keys(ask.link).qualified
        self._relations[name] = Memory(keys)
        return ask.narrow, [*names, name]

    def _found(self, link: JoinKey) -> pa.Table | None:
        """Find the distinct keys of a link; None if they are too many."""
        known = (link.driver, link.other.name)
        if known not in self._keys:
            found = self._distinct(link)
            # the other side may write the same numbers in another width
            self._keys[known] = None if found is None else pa.table({"key": found})
        keys = self._keys[known]
        return None if keys is None else keys.cast(pa.schema([pa.field("key", link.other.type.arrow)]))

    def _distinct(self, link: JoinKey) -> pa.Array | None:
        most = self._plan.limits.copy_keys
        rows = self._there(link.driver)
        if rows is not None:
            column = rows.column(link.other.name)
        else:
            ask = self._plan._keys_of(link)  # noqa: SLF001  (one thing in two classes)
            if ask is None:
                return None
            plan, names = self._narrowed(ask)
            if plan is None:
                return pa.array([], link.other.type.arrow)
            full = self._too_much(ask)
            try:
                column = self._fetched(plan, names, Room(most), full).column(0)
            except TooLarge as error:
                if error is not full:
                    raise
                return None
        found = pc.unique(column).drop_null()
        found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
        return None if len(found) > most else found

    def _there(self, number: int) -> pa.Table | None:
        """Return the rows of a table that are in memory: copied already, or uploaded."""
        copied = self._relations.get(f"{COPIES}.t{number}")
        if isinstance(copied, Memory):
            return copied.rows
        table = self._plan._survey.refs[number].node.table  # noqa: SLF001  (one thing in two classes)
        own = self._relations.get(table.qualified) if table is not None else None
        return own.rows if isinstance(own, Memory) else None

    def _too_much(self, ask: Ask) -> TooLarge:
        limits = self._plan.limits
        return TooLarge(
            say(
                "the query joins tables of two engines, and more than {copy_rows:,} rows or {copy_bytes:,} bytes of {table} would have to be copied from {engine} to {host}",
                limits.copy_rows,
                limits.copy_bytes,
                ask.table.qualified,
                ask.engine,
                self._plan.host,
            ),
            remedy="narrow that table by a condition of its own or by a key of a small one (EXPLAIN says what is copied); "
            "the service's owner can move both collections into one engine (hven move) or raise limits.copy_rows and limits.copy_bytes",
        )


def _copy(ask: Ask) -> Table:
    """Describe what is copied: the needed columns, and nothing of the table's keys and indexes."""
    columns = tuple(column.having(indexed=False, unique=False) for column in ask.columns)
    return ask.table.having(
        schema=COPIES, name=f"t{ask.number}", columns=columns, primary=(), keys=(), groups=(), position=None
    )


def _keys(link: JoinKey) -> Table:
    """Describe the keys of a link as a table."""
    return Table(schema=KEYS, name=f"k{link.driver}_{link.target}", columns=(Column(name="key", type=link.other.type),))


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


__all__ = ["MixedPlan", "prepare"]
