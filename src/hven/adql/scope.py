"""Where names are looked up: the catalogue of tables, and the columns that FROM puts into view."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from hven.adql._syntax_errors import FOREIGN_KEYWORDS
from hven.adql.adql_writer import quote_name
from hven.adql.syntax_tree import ColumnRef, Expr, Ident, NamedWindow, ValueMetadata
from hven.model.errors import BindError, find_close_match, format_message, suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column, Table


MAX_NAMED_COLUMNS = 12  # columns that an error names


class TableCatalogue(Protocol):
    """The tables that a query may know of."""

    def find(self, parts: Sequence[Ident]) -> list[Table]:
        """Return every table that ``[[catalog.]schema.]table`` may mean: none, one, or (ambiguous) several.

        Parameters
        ----------
        parts
            The identifiers between the dots.
        """

    def list_names(self) -> Iterable[str]:
        """List the qualified names of all tables, for "did you mean".

        Returns
        -------
        names
            ``schema.table``.
        """


def is_same_name(ident: Ident, name: str) -> bool:
    """Return whether an identifier means a stored name (ADQL 2.1, 2.1.2).

    A regular identifier is compared without case, a delimited one as it is written.

    Parameters
    ----------
    ident
        Of a query.
    name
        As it is stored.
    """
    if ident.quoted:
        return ident.name == name
    return ident.name.lower() == name.lower()


class StaticCatalogue:
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
        matches = [
            table for table in self._by_name.get(parts[-1].name.lower(), ()) if is_same_name(parts[-1], table.name)
        ]
        if len(parts) == 2:
            matches = [table for table in matches if is_same_name(parts[0], table.schema)]
        return matches

    def list_names(self) -> list[str]:
        """List the qualified names of all tables."""
        return [table.qualified_name for table in self._tables]


# --- what FROM puts into view ----------------------------------------------------------------------------------


class ColumnLookup:
    """Columns by name: made once per table and kept, because a query should not pay for the width of a table."""

    __slots__ = ("_indexes_by_name", "columns", "metas")

    def __init__(
        self, columns: Sequence[Column], names: Sequence[str] = (), metas: Sequence[ValueMetadata] = ()
    ) -> None:
        self.columns = tuple(columns)
        self.metas = list(metas) or [build_column_meta(column) for column in self.columns]
        self._indexes_by_name: dict[str, list[tuple[str, int]]] = {}
        for index, name in enumerate(names or [column.name for column in self.columns]):
            self._indexes_by_name.setdefault(name.lower(), []).append((name, index))

    def find_indexes(self, identifier: Ident) -> list[int]:
        """Return the positions of the columns that an identifier may mean.

        Parameters
        ----------
        identifier
            Of a query.
        """
        entries = self._indexes_by_name.get(identifier.name.lower())
        if entries is None:
            return []
        return [index for name, index in entries if not identifier.quoted or name == identifier.name]


def build_column_meta(column: Column) -> ValueMetadata:
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
    return ValueMetadata(
        column.type,
        column.unit,
        column.ucd,
        column.utype,
        column.description,
        column,
        not column.required,
        origins=frozenset((column.name,)),
    )


_LOOKUP_CACHE: dict[int, tuple[Table, ColumnLookup]] = {}


def build_column_lookup(table: Table) -> ColumnLookup:
    """Return the `ColumnLookup` of a table, kept by the table's identity.

    Parameters
    ----------
    table
        Any.
    """
    cached = _LOOKUP_CACHE.get(id(table))
    if cached is not None and cached[0] is table:
        return cached[1]
    names = ColumnLookup(table.columns)
    if len(_LOOKUP_CACHE) > 2048:
        _LOOKUP_CACHE.clear()
    _LOOKUP_CACHE[id(table)] = (table, names)
    return names


@dataclass(slots=True)
class FromSource:
    """One item of FROM: a table reference, a CTE or a derived table.

    Attributes
    ----------
    number
        As `ColumnRef.source` has it, from 1.
    column_lookup
        Its columns.
    alias
        The name that hides the table's own, or None.
    path
        The table's own name: schema and table (or the CTE's name).
    is_optional
        True on the side of an outer join whose rows may be missing.
    """

    number: int
    column_lookup: ColumnLookup
    alias: Ident | None
    path: tuple[Ident, ...]
    is_optional: bool = False

    def build_column_ref(self, index: int, text_offset: int) -> ColumnRef:
        """Refer to a column by its position.

        Parameters
        ----------
        index
            From 0.
        text_offset
            Offset of the reference in the query, in characters.

        Returns
        -------
        reference
            Bound.
        """
        column = self.column_lookup.columns[index]
        value_meta = self.column_lookup.metas[index]
        if self.is_optional and not value_meta.nullable:
            value_meta = replace(value_meta, nullable=True)
        return ColumnRef(
            Ident(column.name, quoted=True), text_offset=text_offset, meta=value_meta, source=self.number, column=column
        )

    def is_exposed_as(self, qualifier: Sequence[Ident]) -> bool:
        """Return whether a qualifier means this item by the name that FROM gave it.

        Parameters
        ----------
        qualifier
            The identifiers before the column's.
        """
        if self.alias is not None:
            return len(qualifier) == 1 and _is_alias(qualifier[0], self.alias)
        return self.is_hidden_as(qualifier)

    def is_hidden_as(self, qualifier: Sequence[Ident]) -> bool:
        """Return whether a qualifier means this item by the table's own name, although an alias hides it.

        Parameters
        ----------
        qualifier
            The identifiers before the column's.
        """
        if not self.path or len(qualifier) > len(self.path):
            return False
        return all(
            is_same_name(ident, path_identifier.name)
            for ident, path_identifier in zip(reversed(qualifier), reversed(self.path), strict=False)
        )


def _is_alias(ident: Ident, alias: Ident) -> bool:
    """Compare a name with an alias.

    A regular alias is known by its lower-case form (SQL-92 5.2, with PostgreSQL's case).
    """
    if not ident.quoted:
        return ident.name.lower() == alias.name.lower()
    return ident.name == (alias.name if alias.quoted else alias.name.lower())


@dataclass(slots=True)
class VisibleColumn:
    """A column in view without a qualifier: of one source, or merged by USING and NATURAL (then `expr` says how).

    Attributes
    ----------
    name
        As it is stored.
    index
        Of the column in its source.
    """

    name: str
    source: FromSource
    index: int
    expr: Expr | None = None  # COALESCE(left, right) of a FULL JOIN

    def build_expression(self, text_offset: int) -> Expr:
        """Return the expression that a reference to this item becomes.

        Parameters
        ----------
        text_offset
            Offset of the reference in the query, in characters.
        """
        if self.expr is not None:
            return self.expr
        return self.source.build_column_ref(self.index, text_offset)


@dataclass(slots=True)
class VisibleColumns:
    """What FROM (or a part of it) puts into view.

    Attributes
    ----------
    sources
        In the order of FROM.
    merged_columns
        Columns merged by USING or NATURAL, by lower-case name.
    shadowed_columns
        (source number, column position) that unqualified names no longer see, because they were merged.
    """

    sources: list[FromSource] = field(default_factory=list)
    merged_columns: dict[str, VisibleColumn] = field(default_factory=dict)
    shadowed_columns: set[tuple[int, int]] = field(default_factory=set)

    def find_columns(self, ident: Ident) -> list[VisibleColumn]:
        """Return all columns that an unqualified name may mean.

        Parameters
        ----------
        ident
            Of a query.
        """
        if self.merged_columns:
            item = self.merged_columns.get(ident.name.lower())
            if item is not None and is_same_name(ident, item.name):
                return [item, *self._find_unmerged(ident)]
        return self._find_unmerged(ident)

    def _find_unmerged(self, ident: Ident) -> list[VisibleColumn]:
        return [
            VisibleColumn(ident.name, source, index)
            for source in self.sources
            for index in source.column_lookup.find_indexes(ident)
            if not self.shadowed_columns or (source.number, index) not in self.shadowed_columns
        ]

    def list_star_columns(self) -> list[VisibleColumn]:
        """List the columns of ``*``, in order: merged ones first (SQL-92, 7.5).

        Returns
        -------
        items
            Without hidden columns.
        """
        items = list(self.merged_columns.values())
        for source in self.sources:
            for index, column in enumerate(source.column_lookup.columns):
                if (source.number, index) not in self.shadowed_columns and not column.hidden:
                    items.append(VisibleColumn(column.name, source, index))
        return items


@dataclass(slots=True)
class NameScope:
    """A SELECT's view, with those of the queries around it (correlated subqueries look there).

    Attributes
    ----------
    visible_columns
        The columns that its FROM clause shows, in order.
    outer_scope
        The view of the enclosing query, or None.
    windows
        Of the WINDOW clause.

    Common
    ------
    qualifier
        The identifiers before the column's.
    column_ref
        What names the column, not bound.
    query_text
        The query's, for line and column of errors.
    returns : Expr
        What the name stands for, bound.
    """

    visible_columns: VisibleColumns
    outer_scope: NameScope | None = None
    aliases: Sequence[tuple[Ident, Expr]] = ()  # of the select list: HAVING and ORDER BY find them after FROM's columns
    pending_aliases: Sequence[Ident] = ()  # aliases that are not there yet: for the remedy in WHERE
    windows: Sequence[NamedWindow] = ()

    def resolve_column(self, column_ref: ColumnRef, query_text: str) -> Expr:
        """Resolve a column reference, here or in the queries around.

        Raises
        ------
        BindError
            No such column or table, or several; names the candidates or the nearest.
        """
        scope: NameScope | None = self
        while scope is not None:
            if column_ref.qualifier:
                expression = scope.find_qualified_column(column_ref, query_text)
            else:
                expression = scope.find_unqualified_column(column_ref, query_text)
            if expression is not None:
                return expression
            scope = scope.outer_scope
        raise self._build_missing_column_error(column_ref, query_text)

    def find_unqualified_column(self, column_ref: ColumnRef, query_text: str) -> Expr | None:
        """Find an unqualified column here, then among the aliases of the select list.

        Returns
        -------
        expr
            Bound; None: it is not here.
        """
        items = self.visible_columns.find_columns(column_ref.name)
        if not items:
            if self.aliases:
                aliased = self.find_aliased_expressions(column_ref.name)
            else:
                aliased = []
            if len(aliased) == 1:
                return aliased[0]
            return None
        if len(items) > 1:
            raise _build_ambiguity_error(
                column_ref, [f"{format_source_name(item.source)}.{item.name}" for item in items], query_text
            )
        return items[0].build_expression(column_ref.text_offset)

    def find_qualified_column(self, column_ref: ColumnRef, query_text: str) -> Expr | None:
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
        sources = self.find_sources(column_ref.qualifier)
        matches = [
            (source, index) for source in sources for index in source.column_lookup.find_indexes(column_ref.name)
        ]
        if not matches:
            # the facts of a source's file are single names with a dot: file.path, source.row
            items = self.visible_columns.find_columns(
                Ident(".".join([part.name for part in column_ref.qualifier] + [column_ref.name.name]), quoted=True)
            )
            if len(items) == 1:
                return items[0].build_expression(column_ref.text_offset)
        if not sources:
            return None
        if len(matches) > 1:
            raise _build_ambiguity_error(
                column_ref,
                [
                    f"{format_source_name(source)}.{source.column_lookup.columns[index].name}"
                    for source, index in matches
                ],
                query_text,
            )
        if not matches:
            near = suggest_nearest_name(
                column_ref.name.name,
                [column.name for source in sources for column in source.column_lookup.columns if not column.hidden],
            )
            raise BindError(
                format_message("no column {name!r} in {tables}", column_ref.name.name, format_source_name(sources[0])),
                text=query_text,
                offset=column_ref.text_offset,
                remedy=near,
            )
        return matches[0][0].build_column_ref(matches[0][1], column_ref.text_offset)

    def find_sources(self, qualifier: Sequence[Ident]) -> list[FromSource]:
        """Return the FROM items that a qualifier means: by alias, else by the name that an alias hides.

        SQL-92 6.3 would refuse the second; services accept it widely.
        """
        return [source for source in self.visible_columns.sources if source.is_exposed_as(qualifier)] or [
            source for source in self.visible_columns.sources if source.is_hidden_as(qualifier)
        ]

    def find_aliased_expressions(self, ident: Ident) -> list[Expr]:
        """Return the outputs with an alias.

        Parameters
        ----------
        ident
            The alias as it is referred to.
        """
        return [expr for alias, expr in self.aliases if is_same_name(ident, alias.name) or _is_alias(ident, alias)]

    def _list_sources(self) -> list[FromSource]:
        scope: NameScope | None = self
        sources: list[FromSource] = []
        while scope is not None:
            sources.extend(scope.visible_columns.sources)
            scope = scope.outer_scope
        return sources

    def build_missing_table_error(self, qualifier: Sequence[Ident], text_offset: int, query_text: str) -> BindError:
        """Make the error that FROM has no such table.

        Parameters
        ----------
        text_offset
            Their offset in the query, in characters.

        Returns
        -------
        error
            With the nearest name as remedy.
        """
        name = ".".join(part.name for part in qualifier)
        source_names = [format_source_name(source) for source in self._list_sources()]
        remedy = suggest_spelling(name, source_names) or (
            format_message("FROM has {known}", ", ".join(source_names)) if source_names else "there is no FROM"
        )
        return BindError(
            format_message("no table {name!r} in FROM", name), text=query_text, offset=text_offset, remedy=remedy
        )

    def _build_missing_column_error(self, column_ref: ColumnRef, query_text: str) -> BindError:
        if column_ref.qualifier:
            return self.build_missing_table_error(column_ref.qualifier, column_ref.text_offset, query_text)
        sources = self._list_sources()
        names = list(
            dict.fromkeys(
                column.name for source in sources for column in source.column_lookup.columns if not column.hidden
            )
        )
        labels = ", ".join(format_source_name(source) for source in sources)
        exact_names = [name for name in names if name.lower() == column_ref.name.name.lower()]
        remedy = (
            format_message('delimited names are compared with case: write "{name}" or {name}', exact_names[0])
            if exact_names
            else suggest_nearest_name(column_ref.name.name, names)
        )
        if not sources:
            remedy = "there is no FROM: add FROM and a table"
        elif not remedy and len(sources) == 1 and names:
            remedy = format_message(
                "it has {names} .." if len(names) > MAX_NAMED_COLUMNS else "it has {names}",
                ", ".join(names[:MAX_NAMED_COLUMNS]),
            )
        if column_ref.name.name.upper() in FOREIGN_KEYWORDS and not column_ref.name.quoted and not exact_names:
            message, remedy = FOREIGN_KEYWORDS[column_ref.name.name.upper()]
            return BindError(message, text=query_text, offset=column_ref.text_offset, remedy=remedy)
        if column_ref.name.quoted and not exact_names and not suggest_spelling(column_ref.name.name, names):
            remedy = format_message(
                "double quotes are for names, strings take single quotes: {name}", quote_string(column_ref.name.name)
            )
        if any(_is_alias(column_ref.name, alias) for alias in self.pending_aliases):
            remedy = format_message(
                "{name} is named in the select list, which comes after WHERE: write its expression here",
                column_ref.name.name,
            )
        if labels:
            message = format_message("no column {name!r} in {tables}", column_ref.name.name, labels)
        else:
            message = format_message("no column {name!r}", column_ref.name.name)
        return BindError(message, text=query_text, offset=column_ref.text_offset, remedy=remedy)


def quote_string(text: str) -> str:
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


def format_source_name(source: FromSource) -> str:
    """Return the name of a FROM item for people.

    Parameters
    ----------
    source
        With its alias or path.
    """
    if source.alias is not None:
        return source.alias.name
    return ".".join(part.name for part in source.path)


def suggest_nearest_name(word: str, known_names: Iterable[str], *, is_dotted: bool = False) -> str:
    """Phrase the remedy ``did you mean x?`` for names of tables and columns.

    As a query must write them, with quotes where they need some.

    Parameters
    ----------
    word
        As it was written.
    known_names
        The names that there are.
    is_dotted
        They are ``schema.table``.

    Returns
    -------
    remedy
        Empty if none is like it.
    """
    closest = find_close_match(word, known_names)
    if closest is None:
        return ""
    return format_suggestion(closest, is_dotted=is_dotted)


def format_suggestion(name: str, *, is_dotted: bool = False) -> str:
    """Phrase that a name may be meant: with quotes, as it is written in a query.

    Parameters
    ----------
    name
        Of a column or table.
    is_dotted
        It is ``schema.table``.

    Returns
    -------
    remedy
        ``did you mean x?``, the name between quotes of one or the other kind.
    """
    if is_dotted:
        quoted_name = quote_dotted_name(name)
    else:
        quoted_name = quote_name(name)
    return format_message("did you mean {name}?" if '"' in quoted_name else "did you mean {name!r}?", quoted_name)


def quote_dotted_name(name: str) -> str:
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
    return ".".join(map(quote_name, name.split(".")))


def _build_ambiguity_error(column_ref: ColumnRef, candidates: list[str], query_text: str) -> BindError:
    names = list(dict.fromkeys(candidates))
    if len(names) > 1:
        several = ", ".join(names)
    else:
        several = format_message("{count} columns of {table}", len(candidates), names[0].rpartition(".")[0])
    return BindError(
        format_message("column {name!r} is ambiguous: {several}", column_ref.name.name, several),
        text=query_text,
        offset=column_ref.text_offset,
        remedy="qualify it, or give an alias to each table",
    )
