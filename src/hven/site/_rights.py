"""The policies of published tables, bound to the rows of their snapshots."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven import adql
from hven.adql import AHEAD, EPOCH, PEOPLE, Facts, RowPolicy, instant
from hven.adql.functions import QUERY
from hven.adql.kinds import meta
from hven.adql.scope import Tables
from hven.adql.text import literal
from hven.adql.tree import (
    Case,
    ColumnRef,
    Compare,
    Expr,
    Ident,
    In,
    Literal,
    Meta,
    Query,
    Select,
    TableRef,
    conjunction,
    ref,
    transform,
    walk,
)
from hven.engines import Limits, Snapshot
from hven.model.errors import HvenError, ServiceError, UserError
from hven.model.table import Levels, Lock
from hven.model.types import BOOLEAN, INT32
from hven.site.auth._permit import ANONYMOUS, EVERY, Reader, settled, visible, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.engines import Engine, Relation
    from hven.model.table import Column, Table
    from hven.site._picture import Published

EVERYBODY = Reader(name="everybody")
E, N = "hven expression", "hven now"  # places in the queries below
LAST = f'SELECT MAX("{E}") AS x FROM {{}} WHERE "{E}" <= "{N}"'
NEXT = f'SELECT DISTINCT TOP {AHEAD} "{E}" AS x FROM {{}} WHERE "{E}" > "{N}" ORDER BY x'
NAMES = f'SELECT DISTINCT TOP {PEOPLE + 1} "{E}" AS x FROM {{}} WHERE "{E}" IS NOT NULL'
VALUES = f'SELECT DISTINCT "{E}" AS x FROM {{}}'
TOGETHER = 1000  # values that are asked about at once
SHUT = f'SELECT MAX("{E}") AS x, COUNT(*) AS n FROM {{}}'
# ObsCore 1.1 section B.4.4: for all, for who asks, for others
# below a collection's address: its files, and what is made of them
FILED = ("files", "preview", "cube", "headers", "as")
OPEN, MINE, SHUT_WORD = "public", "secure", "proprietary"
DATA_RIGHTS, AVAILABILITY = "data_rights", "availability"
RELEASED = {"obs_release_date", "release_date"}  # of ObsCore and EPN-TAP


class Bound:
    """The levels of a table, bound to the rows of a snapshot.

    Parameters
    ----------
    table
        With its levels.
    facts
        Of its rows.
    ask
        Asks the engine, under no policy, a query whose places are trees.

    Raises
    ------
    ParseError, BindError
        They do not fit the table.
    """

    def __init__(self, table: Table, facts: Facts, ask: Callable[..., Iterator[tuple[Any, ...]]]) -> None:
        levels = table.policy
        assert levels is not None  # noqa: S101  (or there is nothing to bind)
        texts = (levels.rows, levels.files, levels.take)
        self._rows, self._files, self._take = (
            None if text is None else RowPolicy(text, table.columns, facts) for text in texts
        )
        self._telling = [column for column in table.columns if column.name in table.telling]
        self._told = next((one for one in table.columns if one.name == DATA_RIGHTS and one.type.is_string), None)
        last = self._take or self._files or self._rows
        self._opens = None if last is None else last.opens
        self._dates: dict[str, Expr] = {}
        if self._opens is not None:
            bound = adql.bind_expression(self._opens, table.columns, functions=QUERY)
            same = meta(bound).column  # a date that is compared itself is as the rows have it
            self._dates = {
                one.name: settled(bound)
                for one in table.columns
                if one.name in RELEASED and one.type == meta(bound).type and (same is None or same.name != one.name)
            }
        self._table, self._levels, self._ask = table, levels, ask

    def presented(self, table: Table) -> Table:
        """Return the table with its levels bound: what they hide from somebody is null there, and pages say in words what one may take."""
        maybe = table.telling
        columns = [one.having(required=False) if one.name in maybe else one for one in table.columns]
        for at, one in enumerate(columns):
            if one == self._told and one.enum is None:
                columns[at] = one.having(enum=AVAILABILITY, label=one.label or "Availability")
        enums = {**table.enums, AVAILABILITY: {OPEN: "public", MINE: "mine", SHUT_WORD: "restricted"}}
        return table.having(rights=self, columns=tuple(columns), enums=enums if self._told else table.enums)

    def condition(self, who: Reader) -> tuple[Expr | None, int, float]:
        """Return what the rows meet that a reader sees: see `hven.adql.RowPolicy.condition`."""
        return (None, 0, math.inf) if self._rows is None else self._rows.condition(who)

    def span(self, who: Reader) -> tuple[int, float]:
        """Return from when until when nothing changes for a reader, nor of what they are told of others' rights."""
        found = [
            policy.condition(one)[1:]
            for policy in (self._rows, self._files, self._take)
            if policy is not None
            for one in {who, *((ANONYMOUS,) if self._told is not None else ())}
        ]
        return max((one for one, _ in found), default=0), min((one for _, one in found), default=math.inf)

    def masks(self, who: Reader) -> Mapping[str, Expr]:
        """Return what a reader sees instead of columns."""
        known = None if self._files is None else self._files.condition(who)[0]
        found = dict(self._dates)
        if known is not None:
            found |= {column.name: _case(column, (known, _ref(column)), otherwise=None) for column in self._telling}
        if self._told is not None:
            column = self._told
            words = [(self.takes(ANONYMOUS), OPEN), (self.takes(who), MINE)]
            ways = [(condition or EVERY, _word(column, text)) for condition, text in words]
            found[column.name] = _case(column, *ways, otherwise=_word(column, SHUT_WORD))
        return {name: settled(expr) for name, expr in found.items()}

    def takes(self, who: Reader) -> Expr | None:
        """Return the condition of the rows whose files a reader may take; None: all."""
        levels = (self._rows, self._files, self._take)
        return conjunction(*(policy.condition(who)[0] for policy in levels if policy is not None))

    def shut(self, who: Reader, column: str, values: Sequence[str]) -> set[str]:
        """Return which values of a column have a row whose file the reader may not take."""
        takes = self.takes(who)
        if takes is None or whole(who, self._table.schema):
            return set()
        name = ref(column)
        found: set[str] = set()
        for at in range(0, len(values), TOGETHER):
            test = In(name, tuple(Literal(one) for one in values[at : at + TOGETHER]))
            rows = conjunction(adql.bind_condition(test, self._table.columns), _shut(takes))
            found.update(one for (one,) in self._ask(VALUES, {E: name}, rows))
        return found

    def locked(self, who: Reader, where: Mapping[str, Any]) -> Lock | None:
        """Return until when files of rows are locked, and whom to ask: one row that is locked is enough. None: they may be taken, or there is no such row."""
        takes = self.takes(who)
        if takes is None or whole(who, self._table.schema):
            return None
        when = self._opens
        named = [ref(name) for name in where]
        equal = conjunction(
            *(Compare("=", name, Literal(one)) for name, one in zip(named, where.values(), strict=True))
        )
        rows = None if equal is None else adql.bind_condition(equal, self._table.columns)
        places = {E: when or named[0]}
        shut = _shut(takes)
        ((until, seen),) = self._ask(SHUT, places, conjunction(rows, shut, self.condition(who)[0]))
        if not seen and not next(self._ask(SHUT, places, conjunction(rows, shut)))[1]:
            return None
        # until when a row is locked that they do not see is not told
        told = until.isoformat(timespec="seconds") if seen and when is not None and until else ""
        return Lock(told, self._levels.contact or "")


class Sealed:
    """What the rows of a table without levels tell of files that not everybody has who sees the rows: addresses of these are null for the others.

    Parameters
    ----------
    table
        Any.
    files
        The collection's table of files.
    begin
        How addresses of what the collection has begin.

    Raises
    ------
    BindError
        A column cannot be read as an address.
    """

    def __init__(self, table: Table, files: Table, begin: Sequence[str]) -> None:
        self._files, self._masks = files, dict[str, Expr]()
        for column in _addresses(table):
            name = adql.quote(column.name)
            some = [f"{one}{what}/%" for one in begin for what in FILED]
            tests = (f"{name} LIKE {literal(one)}" for one in some)
            text = f"CASE WHEN {' OR '.join(tests)} THEN NULL ELSE {name} END"
            self._masks[column.name] = settled(
                adql.bind_expression(adql.parse_expression(text), table.columns, functions=QUERY)
            )

    def presented(self, table: Table) -> Table:
        """Return the table with this as its rights."""
        columns = tuple(one.having(required=False) if one.name in self._masks else one for one in table.columns)
        return table.having(rights=self, policy=Levels(), columns=columns)

    def condition(self, who: Reader) -> tuple[Expr | None, int, float]:  # noqa: ARG002  (the contract's signature)
        """Return no condition: all rows are seen."""
        return None, 0, math.inf

    def span(self, who: Reader) -> tuple[int, float]:
        """Return from when until when the same files are a reader's."""
        return (0, math.inf) if self._files.rights is None else self._files.rights.span(who)

    def masks(self, who: Reader) -> Mapping[str, Expr]:
        """Return what a reader sees instead of addresses."""
        rights = self._files.rights
        return {} if visible(self._files, who) and (rights is None or rights.takes(who) is None) else self._masks

    def takes(self, who: Reader) -> None:
        """Return no condition: of each file its address is asked."""

    def shut(self, who: Reader, column: str, values: Sequence[str]) -> set[str]:  # noqa: ARG002
        """Return nothing: no row locks a file."""
        return set()

    def locked(self, who: Reader, where: Mapping[str, Any]) -> None:
        """Return nothing, likewise."""


def _addresses(table: Table) -> list[Column]:
    """List the columns that may have addresses of files."""
    names = Levels(files="").telling((one.name, one.ucd or "") for one in table.columns)
    return [one for one in table.columns if one.name in names and one.type.is_string and not one.type.is_array]


def _shut(takes: Expr) -> Expr:
    one, none = (Literal(number, meta=Meta(INT32)) for number in (1, 0))
    open_ = Case(None, ((takes, one),), none, meta=Meta(INT32))  # what is not known is not open
    return Compare("=", open_, none, meta=Meta(BOOLEAN))


def _ref(column: Column) -> ColumnRef:
    meta = Meta(column.type, column.unit, column.ucd, column.utype, column.description, column)
    return ColumnRef(Ident(column.name, quoted=True), source=0, column=column, meta=meta)


def _word(column: Column, text: str) -> Literal:
    return Literal(text, meta=Meta(column.type, nullable=False))


def _case(column: Column, *ways: tuple[Expr, Expr], otherwise: Expr | None) -> Expr:
    meta = Meta(column.type, column.unit, column.ucd, column.utype, column.description)
    return Case(None, ways, otherwise, meta=meta)


class Policies:
    """Binds policies; what was asked of a snapshot is kept as long as one state after the other has it.

    Parameters
    ----------
    engine
        Returns the one of a snapshot; None: no rows can be asked.
    """

    def __init__(self, engine: Callable[[Snapshot], Engine] | None = None) -> None:
        self._engine = engine
        self._facts: dict[str, Facts] = {}

    def bound(self, published: dict[str, Published]) -> list[str]:
        """Bind the policies of tables; one that does not fit its table, as it is published, makes it private.

        Parameters
        ----------
        published
            By qualified name; changed.

        Returns
        -------
        problems
            Of policies that do not fit.
        """
        problems: list[str] = []
        kept: dict[str, Facts] = {}
        for name, item in published.items():
            table = item.table
            if table.policy is None:
                continue
            try:
                facts = self._facts_of(table, item.relation, kept)
                rights = Bound(table, facts, self._asking(table, item.relation))
                with suppress(ServiceError):  # an engine that is away is asked when a reader comes, who is told so
                    rights.span(EVERYBODY)  # what must be asked of the rows is asked now, while nobody waits
                table = rights.presented(table)
            except HvenError as error:
                problems.append(f"{name}: nobody but its owner sees it, for its policy cannot be used: {error}")
                table = table.having(access="private", policy=None)
            published[name] = replace(item, table=table)
        self._facts = kept
        for name, item in published.items():
            published[name] = _sealed(item, published)
        return problems

    def _facts_of(self, table: Table, snapshot: Relation | None, kept: dict[str, Facts]) -> Facts:
        if not isinstance(snapshot, Snapshot) or self._engine is None:
            raise UserError("its rows are read in place, and change unseen", remedy="ingest it")
        key = f"{table.qualified} {snapshot.id}"
        found = kept[key] = self._facts.get(key) or self._of(table, snapshot)
        return found

    def _of(self, table: Table, snapshot: Snapshot) -> Facts:
        ask = self._asking(table, snapshot)

        def people(column: ColumnRef) -> Iterator[str]:
            for (text,) in ask(NAMES, {E: column}):
                yield str(text)

        def moments(expr: Expr, now: int) -> tuple[int | None, Sequence[int]]:
            places = {E: expr, N: instant(now)}
            ((last,),) = ask(LAST, places)
            return (None if last is None else _moment(last)), [_moment(one) for (one,) in ask(NEXT, places)]

        return Facts(people, moments)

    def _asking(self, table: Table, snapshot: Relation | None) -> Callable[..., Iterator[tuple[Any, ...]]]:
        return partial(self._values, table, snapshot)

    def _values(
        self, table: Table, snapshot: Relation | None, text: str, said: Mapping[str, Expr], where: Expr | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Ask the engine, under no policy, of the rows that meet a bound condition."""
        assert isinstance(snapshot, Snapshot)  # noqa: S101  (or there were no facts)
        places = {name: settled(expr) for name, expr in said.items()}
        name = ".".join(adql.quote(part) for part in (table.schema, table.name))
        tree = transform(
            adql.parse(text.format(name)),
            lambda node: places.get(node.name.name, node) if isinstance(node, ColumnRef) else node,
        )
        bound = adql.bind(tree, Tables([table.having(policy=None, rights=None)]))
        assert self._engine is not None  # noqa: S101  (or there were no facts)
        if where is not None:
            bound = replace(bound, query=_where(bound.query, settled(where)))
        execution = self._engine(snapshot).prepare(bound).execute(bound.slots, {table.qualified: snapshot}, Limits())
        try:
            for batch in execution:
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        finally:
            execution.close()


def _sealed(item: Published, published: Mapping[str, Published]) -> Published:
    """Keep addresses of files from who sees a table's rows, and has not the files: a private collection's, of which this table is public."""
    owner = item.table.schema if item.release is None else item.release.collection
    files = published.get(f"{owner}.files")
    closed = files is not None and (files.table.access, files.table.policy) != (item.table.access, None)
    if (
        not closed
        or files is None
        or item.table.policy is not None
        or item.table.access == "private"
        or not _addresses(item.table)
    ):
        return item
    here = {item.provenance.get("site_url"), item.resource and item.resource.site["url"]}
    begin = [f"{one}/collections/{quote(owner).replace('%', '_')}/" for one in sorted(filter(None, here))]
    return replace(item, table=Sealed(item.table, files.table, begin).presented(item.table))


def _where(query: Query, only: Expr) -> Query:
    """Put a condition, bound over one table alone, into a query of that table."""
    number = next(node.number for node in walk(query) if isinstance(node, TableRef))
    met = transform(only, lambda node: replace(node, source=number) if isinstance(node, ColumnRef) else node)
    return transform(query, lambda node: replace(node, where=met) if isinstance(node, Select) else node)


def _moment(value: Any) -> int:
    """Return microseconds since 1970."""
    since = value.replace(tzinfo=None) - EPOCH
    return int((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


__all__ = ["Policies"]
