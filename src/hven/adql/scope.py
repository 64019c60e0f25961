"""Where names are looked up: the catalogue of tables, and the columns that FROM puts into view."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from hven.adql._syntax_faults import FOREIGN
from hven.adql.text import quote
from hven.adql.tree import ColumnRef, Expr, Ident, Meta, NamedWindow
from hven.model.errors import BindError, meant, nearest, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column, Table


MOST = 12  # columns that an error names


class Catalogue(Protocol):
    """The tables that a query may know of."""

    def find(self, parts: Sequence[Ident]) -> list[Table]:
        """Return every table that ``[[catalog.]schema.]table`` may mean: none, one, or (ambiguous) several.

        Parameters
        ----------
        parts
            The identifiers between the dots.
        """

    def names(self) -> Iterable[str]:
        """List the qualified names of all tables, for "did you mean".

        Returns
        -------
        names
            ``schema.table``.
        """


def same(ident: Ident, name: str) -> bool:
    """Return whether an identifier means a stored name (ADQL 2.1, 2.1.2).

    A regular identifier is compared without case, a delimited one as it is written.

    Parameters
    ----------
    ident
        Of a query.
    name
        As it is stored.
    """
    return ident.name == name or (not ident.quoted and ident.name.lower() == name.lower())


class Tables:
    """A ready-made catalogue over a list of tables; an unqualified name is looked up in every schema."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self._tables = tuple(tables)
        self._by_name: dict[str, list[Table]] = {}
        for table in self._tables:
            self._by_name.setdefault(table.name.lower(), []).append(table)

    def find(self, parts: Sequence[Ident]) -> list[Table]:
        """Find by ``table`` or ``schema.table``; a catalog in front is an error of the caller's query: no match.

        Parameters
        ----------
        parts
            The identifiers between the dots.

        Returns
        -------
        tables
            Several if it is ambiguous.
        """
        if not 1 <= len(parts) <= 2:
            return []
        found = [table for table in self._by_name.get(parts[-1].name.lower(), ()) if same(parts[-1], table.name)]
        if len(parts) == 2:
            found = [table for table in found if same(parts[0], table.schema)]
        return found

    def names(self) -> list[str]:
        """List the qualified names of all tables."""
        return [table.qualified for table in self._tables]


# --- what FROM puts into view ----------------------------------------------------------------------------------


class Names:
    """Columns by name: made once per table and kept, because a query should not pay for the width of a table."""

    __slots__ = ("_lower", "columns", "metas")

    def __init__(self, columns: Sequence[Column], names: Sequence[str] = (), metas: Sequence[Meta] = ()) -> None:
        self.columns = tuple(columns)
        self.metas = list(metas) or [column_meta(column) for column in self.columns]
        self._lower: dict[str, list[tuple[str, int]]] = {}
        for index, name in enumerate(names or [column.name for column in self.columns]):
            self._lower.setdefault(name.lower(), []).append((name, index))

    def find(self, ident: Ident) -> list[int]:
        """Return the positions of the columns that an identifier may mean.

        Parameters
        ----------
        ident
            Of a query.
        """
        found = self._lower.get(ident.name.lower())
        if found is None:
            return []
        return [index for name, index in found if not ident.quoted or name == ident.name]


def column_meta(column: Column) -> Meta:
    """Describe a column's value.

    Parameters
    ----------
    column
        Of any table.

    Returns
    -------
    meta
        Nullable unless the column is required.
    """
    return Meta(
        column.type, column.unit, column.ucd, column.utype, column.description,
        column, not column.required, origins=frozenset((column.name,)),
    )  # fmt: skip


_KEPT: dict[int, tuple[Table, Names]] = {}


def names_of(table: Table) -> Names:
    """Return the `Names` of a table, kept by the table's identity.

    Parameters
    ----------
    table
        Any.
    """
    kept = _KEPT.get(id(table))
    if kept is not None and kept[0] is table:
        return kept[1]
    names = Names(table.columns)
    if len(_KEPT) > 2048:
        _KEPT.clear()
    _KEPT[id(table)] = (table, names)
    return names


@dataclass(slots=True)
class Source:
    """One item of FROM: a table reference, a CTE or a derived table.

    Attributes
    ----------
    number
        As `ColumnRef.source` has it, from 1.
    names
        Its columns.
    alias
        The name that hides the table's own, or None.
    path
        The table's own name: schema and table (or the CTE's name).
    optional
        True on the side of an outer join whose rows may be missing.
    """

    number: int
    names: Names
    alias: Ident | None
    path: tuple[Ident, ...]
    optional: bool = False

    def ref(self, index: int, at: int) -> ColumnRef:
        """Refer to a column by its position.

        Parameters
        ----------
        index
            From 0.
        at
            Offset of the reference in the query, in characters.

        Returns
        -------
        reference
            Bound.
        """
        column = self.names.columns[index]
        known = self.names.metas[index]
        if self.optional and not known.nullable:
            known = replace(known, nullable=True)
        return ColumnRef(Ident(column.name, quoted=True), at=at, meta=known, source=self.number, column=column)

    def exposed(self, qualifier: Sequence[Ident]) -> bool:
        """Return whether a qualifier means this item by the name that FROM gave it.

        Parameters
        ----------
        qualifier
            The identifiers before the column's.
        """
        if self.alias is not None:
            return len(qualifier) == 1 and _alias_is(qualifier[0], self.alias)
        return self.hidden(qualifier)

    def hidden(self, qualifier: Sequence[Ident]) -> bool:
        """Return whether a qualifier means this item by the table's own name, although an alias hides it.

        Parameters
        ----------
        qualifier
            The identifiers before the column's.
        """
        if not self.path or len(qualifier) > len(self.path):
            return False
        return all(same(ident, own.name) for ident, own in zip(reversed(qualifier), reversed(self.path), strict=False))


def _alias_is(ident: Ident, alias: Ident) -> bool:
    """Compare a name with an alias: a regular alias is known by its lower-case form (SQL-92 5.2, with PostgreSQL's case)."""
    if not ident.quoted:
        return ident.name.lower() == alias.name.lower()
    return ident.name == (alias.name if alias.quoted else alias.name.lower())


@dataclass(slots=True)
class Item:
    """A column in view without a qualifier: of one source, or merged by USING and NATURAL (then `expr` says how).

    Attributes
    ----------
    name
        As it is stored.
    index
        Of the column in its source.
    """

    name: str
    source: Source
    index: int
    expr: Expr | None = None  # COALESCE(left, right) of a FULL JOIN

    def read(self, at: int) -> Expr:
        """Return the expression that a reference to this item becomes.

        Parameters
        ----------
        at
            Offset of the reference in the query, in characters.
        """
        return self.expr if self.expr is not None else self.source.ref(self.index, at)


@dataclass(slots=True)
class View:
    """What FROM (or a part of it) puts into view.

    Attributes
    ----------
    sources
        In the order of FROM.
    merged
        Columns merged by USING or NATURAL, by lower-case name.
    shadowed
        (source number, column position) that unqualified names no longer see, because they were merged.
    """

    sources: list[Source] = field(default_factory=list)
    merged: dict[str, Item] = field(default_factory=dict)
    shadowed: set[tuple[int, int]] = field(default_factory=set)

    def find(self, ident: Ident) -> list[Item]:
        """Return all columns that an unqualified name may mean.

        Parameters
        ----------
        ident
            Of a query.
        """
        if self.merged:
            item = self.merged.get(ident.name.lower())
            if item is not None and same(ident, item.name):
                return [item, *self._plain(ident)]
        return self._plain(ident)

    def _plain(self, ident: Ident) -> list[Item]:
        return [
            Item(ident.name, source, index)
            for source in self.sources
            for index in source.names.find(ident)
            if not self.shadowed or (source.number, index) not in self.shadowed
        ]

    def star(self) -> list[Item]:
        """List the columns of ``*``, in order: merged ones first (SQL-92, 7.5).

        Returns
        -------
        items
            Without hidden columns.
        """
        items = list(self.merged.values())
        for source in self.sources:
            for index, column in enumerate(source.names.columns):
                if (source.number, index) not in self.shadowed and not column.hidden:
                    items.append(Item(column.name, source, index))
        return items


@dataclass(slots=True)
class Scope:
    """A SELECT's view, with those of the queries around it (correlated subqueries look there).

    Attributes
    ----------
    outer
        Of the query around; None: there is none.
    windows
        Of the WINDOW clause.

    Common
    ------
    qualifier
        The identifiers before the column's.
    ref
        What names the column, not bound.
    text
        The query's, for line and column of errors.
    returns : Expr
        What the name stands for, bound.
    """

    view: View
    outer: Scope | None = None
    aliases: Sequence[tuple[Ident, Expr]] = ()  # of the select list: HAVING and ORDER BY find them after FROM's columns
    later: Sequence[Ident] = ()  # aliases that are not there yet: for the remedy in WHERE
    windows: Sequence[NamedWindow] = ()

    def resolve(self, ref: ColumnRef, text: str) -> Expr:
        """Resolve a column reference, here or in the queries around.

        Raises
        ------
        BindError
            No such column or table, or several; names the candidates or the nearest.
        """
        scope: Scope | None = self
        while scope is not None:
            found = scope.qualified_column(ref, text) if ref.qualifier else scope.plain_column(ref, text)
            if found is not None:
                return found
            scope = scope.outer
        raise self._missing(ref, text)

    def plain_column(self, ref: ColumnRef, text: str) -> Expr | None:
        """Find an unqualified column here, then among the aliases of the select list.

        Returns
        -------
        expr
            Bound; None: it is not here.
        """
        items = self.view.find(ref.name)
        if not items:
            found = self.alias(ref.name) if self.aliases else []
            return found[0] if len(found) == 1 else None
        if len(items) > 1:
            raise _ambiguous(ref, [f"{label(item.source)}.{item.name}" for item in items], text)
        return items[0].read(ref.at)

    def qualified_column(self, ref: ColumnRef, text: str) -> Expr | None:
        """Find a qualified column here.

        Returns
        -------
        expr
            Bound; None: its table is not here.

        Raises
        ------
        BindError
            The table has no such column, or several have the name.
        """
        sources = self.qualified(ref.qualifier)
        found = [(source, index) for source in sources for index in source.names.find(ref.name)]
        if not found:
            # the facts of a source's file are single names with a dot: file.path, source.row
            items = self.view.find(
                Ident(".".join([part.name for part in ref.qualifier] + [ref.name.name]), quoted=True)
            )
            if len(items) == 1:
                return items[0].read(ref.at)
        if not sources:
            return None
        if len(found) > 1:
            raise _ambiguous(
                ref, [f"{label(source)}.{source.names.columns[index].name}" for source, index in found], text
            )
        if not found:
            near = nearest_name(
                ref.name.name,
                [column.name for source in sources for column in source.names.columns if not column.hidden],
            )
            raise BindError(
                say("no column {name!r} in {tables}", ref.name.name, label(sources[0])),
                text=text,
                offset=ref.at,
                remedy=near,
            )
        return found[0][0].ref(found[0][1], ref.at)

    def qualified(self, qualifier: Sequence[Ident]) -> list[Source]:
        """Return the FROM items that a qualifier means: by alias, else by the name that an alias hides.

        SQL-92 6.3 would refuse the second; services accept it widely.
        """
        return [source for source in self.view.sources if source.exposed(qualifier)] or [
            source for source in self.view.sources if source.hidden(qualifier)
        ]

    def alias(self, ident: Ident) -> list[Expr]:
        """Return the outputs with an alias.

        Parameters
        ----------
        ident
            The alias as it is referred to.
        """
        return [expr for alias, expr in self.aliases if same(ident, alias.name) or _alias_is(ident, alias)]

    def _sources(self) -> list[Source]:
        scope: Scope | None = self
        sources: list[Source] = []
        while scope is not None:
            sources.extend(scope.view.sources)
            scope = scope.outer
        return sources

    def missing_table(self, qualifier: Sequence[Ident], at: int, text: str) -> BindError:
        """Make the error that FROM has no such table.

        Parameters
        ----------
        at
            Their offset in the query, in characters.

        Returns
        -------
        error
            With the nearest name as remedy.
        """
        name = ".".join(part.name for part in qualifier)
        known = [label(source) for source in self._sources()]
        remedy = nearest(name, known) or (say("FROM has {known}", ", ".join(known)) if known else "there is no FROM")
        return BindError(say("no table {name!r} in FROM", name), text=text, offset=at, remedy=remedy)

    def _missing(self, ref: ColumnRef, text: str) -> BindError:
        if ref.qualifier:
            return self.missing_table(ref.qualifier, ref.at, text)
        sources = self._sources()
        names = list(
            dict.fromkeys(column.name for source in sources for column in source.names.columns if not column.hidden)
        )
        labels = ", ".join(label(source) for source in sources)
        exact = [name for name in names if name.lower() == ref.name.name.lower()]
        remedy = (
            say('delimited names are compared with case: write "{name}" or {name}', exact[0])
            if exact
            else nearest_name(ref.name.name, names)
        )
        if not sources:
            remedy = "there is no FROM: add FROM and a table"
        elif not remedy and len(sources) == 1 and names:
            remedy = say("it has {names} .." if len(names) > MOST else "it has {names}", ", ".join(names[:MOST]))
        if ref.name.name.upper() in FOREIGN and not ref.name.quoted and not exact:
            message, remedy = FOREIGN[ref.name.name.upper()]
            return BindError(message, text=text, offset=ref.at, remedy=remedy)
        if ref.name.quoted and not exact and not nearest(ref.name.name, names):
            remedy = say("double quotes are for names, strings take single quotes: {name}", string(ref.name.name))
        if any(_alias_is(ref.name, alias) for alias in self.later):
            remedy = say(
                "{name} is named in the select list, which comes after WHERE: write its expression here", ref.name.name
            )
        message = (
            say("no column {name!r} in {tables}", ref.name.name, labels)
            if labels
            else say("no column {name!r}", ref.name.name)
        )
        return BindError(message, text=text, offset=ref.at, remedy=remedy)


def string(text: str) -> str:
    """Quote a string as an ADQL literal.

    Parameters
    ----------
    text
        Any.

    Returns
    -------
    literal
        Single quotes around, those within doubled.
    """
    return "'" + text.replace("'", "''") + "'"


def label(source: Source) -> str:
    """Return the name of a FROM item for people.

    Parameters
    ----------
    source
        With its alias or path.
    """
    if source.alias is not None:
        return source.alias.name
    return ".".join(part.name for part in source.path)


def nearest_name(word: str, known: Iterable[str], *, dotted: bool = False) -> str:
    """Phrase the remedy ``did you mean x?`` for names of tables and columns: as a query must write them, with quotes where they need some.

    Parameters
    ----------
    word
        As it was written.
    known
        The names that there are.
    dotted
        They are ``schema.table``.

    Returns
    -------
    remedy
        Empty if none is like it.
    """
    close = meant(word, known)
    return "" if close is None else suggested(close, dotted=dotted)


def suggested(name: str, *, dotted: bool = False) -> str:
    """Phrase that a name may be meant: with quotes, as it is written in a query.

    Parameters
    ----------
    name
        Of a column or table.
    dotted
        It is ``schema.table``.

    Returns
    -------
    remedy
        ``did you mean x?``, the name between quotes of one or the other kind.
    """
    made = dotted_name(name) if dotted else quote(name)
    return say("did you mean {name}?" if '"' in made else "did you mean {name!r}?", made)


def dotted_name(name: str) -> str:
    """Quote the parts of ``schema.table``, where they need it.

    Parameters
    ----------
    name
        Of a table.

    Returns
    -------
    name
        As it is written in a query.
    """
    return ".".join(map(quote, name.split(".")))


def _ambiguous(ref: ColumnRef, candidates: list[str], text: str) -> BindError:
    names = list(dict.fromkeys(candidates))
    several = (
        ", ".join(names)
        if len(names) > 1
        else say("{count} columns of {table}", len(candidates), names[0].rpartition(".")[0])
    )
    return BindError(
        say("column {name!r} is ambiguous: {several}", ref.name.name, several),
        text=text,
        offset=ref.at,
        remedy="qualify it, or give an alias to each table",
    )
