"""Look up names: in the catalogue of tables, and among the columns that FROM makes visible."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from hven.adql._syntax_errors import FOREIGN_KEYWORDS
from hven.adql.adql_writer import quote_adql_name
from hven.adql.syntax_tree import ColumnRef, Expr, Ident, NamedWindow, SelectItem, SelectStar, ValueMetadata
from hven.model.errors import BindError, find_close_match, format_message, suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column, ColumnGroup, Table


MAX_NAMED_COLUMNS = 12  # columns that an error names
MAX_CACHED_LOOKUPS = 2048


class TableCatalogue(Protocol):
    """The tables that a query may read."""

    def find_tables_by_identifiers(self, parts: Sequence[Ident]) -> list[Table]:
        """Return every table that ``[[catalog.]schema.]table`` may mean: none, one, or several if it is ambiguous.

        Parameters
        ----------
        parts
            The identifiers between the dots.
        """

    def list_table_names(self) -> Iterable[str]:
        """List the qualified names of all tables, for "did you mean".

        Returns
        -------
        names
            Names of the form ``schema.table``.
        """


def is_same_name(ident: Ident, name: str) -> bool:
    """Return whether an identifier means a stored name (ADQL 2.1 section 2.1.2).

    The comparison ignores the case of a regular identifier, but not of a delimited one.

    Parameters
    ----------
    ident
        An identifier of a query.
    name
        The stored name of a table or column.
    """
    if ident.quoted:
        return ident.name == name
    return ident.name.lower() == name.lower()


class StaticTableCatalogue:
    """A catalogue of a fixed list of tables; it looks an unqualified name up in every schema."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self._tables = tuple(tables)
        self._by_name: dict[str, list[Table]] = {}
        for table in self._tables:
            self._by_name.setdefault(table.name.lower(), []).append(table)

    def find_tables_by_identifiers(self, parts: Sequence[Ident]) -> list[Table]:
        """Find tables by ``table`` or ``schema.table``; a name with a catalog matches no table.

        Parameters
        ----------
        parts
            The identifiers between the dots.

        Returns
        -------
        tables
            The matching tables; several if the name is ambiguous.
        """
        if not 1 <= len(parts) <= 2:
            return []
        *schema_parts, name = parts
        candidates = self._by_name.get(name.name.lower(), ())
        matches = [table for table in candidates if is_same_name(name, table.name)]
        for schema in schema_parts:
            matches = [table for table in matches if is_same_name(schema, table.schema)]
        return matches

    def list_table_names(self) -> list[str]:
        """List the qualified names of all tables."""
        return [table.qualified_name for table in self._tables]


# --- the columns that FROM makes visible ------------------------------------------------------------------------


class ColumnLookup:
    """Columns by name. It is built once for a table, so that the time of a query does not depend on its width."""

    __slots__ = ("_indexes_by_name", "columns", "groups", "metas")

    def __init__(
        self,
        columns: Sequence[Column],
        names: Sequence[str] = (),
        metas: Sequence[ValueMetadata] = (),
        groups: Sequence[ColumnGroup] = (),
    ) -> None:
        self.columns = tuple(columns)
        self.groups = groups
        self.metas = list(metas) or [build_column_meta(column) for column in self.columns]
        self._indexes_by_name: dict[str, list[tuple[str, int]]] = {}
        for index, name in enumerate(names or [column.name for column in self.columns]):
            self._indexes_by_name.setdefault(name.lower(), []).append((name, index))

    def find_column_indexes(self, identifier: Ident) -> list[int]:
        """Return the positions of the columns that an identifier may mean.

        Parameters
        ----------
        identifier
            An identifier of a query.
        """
        entries = self._indexes_by_name.get(identifier.name.lower())
        if entries is None:
            return []
        if len(entries) == 1:
            ((name, index),) = entries
            if not identifier.quoted or name == identifier.name:
                return [index]
            return []
        return [index for name, index in entries if not identifier.quoted or name == identifier.name]

    def find_group_indexes(self, identifier: Ident) -> list[int]:
        """Return the positions of the columns of a group, in the order of its roles; none without such a group.

        Parameters
        ----------
        identifier
            The name of a group in a query.
        """
        names = [name for group in self.groups if is_same_name(identifier, group.name) for name in group.roles.values()]
        return [index for name in names for index in self.find_column_indexes(Ident(name, quoted=True))]


def build_column_meta(column: Column) -> ValueMetadata:
    """Return the metadata of a column's value.

    Parameters
    ----------
    column
        A column of any table.

    Returns
    -------
    meta
        The metadata; it is nullable unless the column is required.
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


def get_column_lookup(table: Table) -> ColumnLookup:
    """Return the `ColumnLookup` of a table, from a cache by the identity of the table.

    Parameters
    ----------
    table
        Any table.
    """
    cached = _LOOKUP_CACHE.get(id(table))
    if cached is not None:
        cached_table, cached_lookup = cached
        if cached_table is table:  # an id can belong to another table after garbage collection
            return cached_lookup
    column_lookup = ColumnLookup(table.columns, groups=table.groups)
    if len(_LOOKUP_CACHE) > MAX_CACHED_LOOKUPS:
        _LOOKUP_CACHE.clear()
    _LOOKUP_CACHE[id(table)] = (table, column_lookup)
    return column_lookup


@dataclass(slots=True)
class FromSource:
    """One item of FROM: a table, a table of WITH, or a derived table.

    Attributes
    ----------
    number
        The number that `ColumnRef.source` refers to, from 1.
    column_lookup
        The columns of the item.
    alias
        The alias, which hides the name of the table; None if there is none.
    path
        The name of the table: schema and table, or the name in WITH.
    is_optional
        True on the side of an outer join whose rows may be missing.
    """

    number: int
    column_lookup: ColumnLookup
    alias: Ident | None
    path: tuple[Ident, ...]
    is_optional: bool = False

    def build_column_ref(self, index: int, text_offset: int) -> ColumnRef:
        """Build a bound reference to a column.

        Parameters
        ----------
        index
            The position of the column, from 0.
        text_offset
            The offset of the reference in the query, in characters.

        Returns
        -------
        reference
            The bound reference.
        """
        column = self.column_lookup.columns[index]
        meta = self.column_lookup.metas[index]
        if self.is_optional and not meta.nullable:
            meta = replace(meta, nullable=True)
        identifier = Ident(column.name, quoted=True)
        return ColumnRef(identifier, text_offset=text_offset, meta=meta, source=self.number, column=column)

    def is_named_by_qualifier(self, qualifier: Sequence[Ident]) -> bool:
        """Return whether a qualifier means this item: by its alias, or by its name if it has no alias.

        Parameters
        ----------
        qualifier
            The identifiers before the column name.
        """
        if self.alias is not None:
            return len(qualifier) == 1 and _is_alias(qualifier[0], self.alias)
        return self.has_table_name(qualifier)

    def has_table_name(self, qualifier: Sequence[Ident]) -> bool:
        """Return whether a qualifier means this item by the name of the table, which an alias may hide.

        Parameters
        ----------
        qualifier
            The identifiers before the column name.
        """
        if not self.path or len(qualifier) > len(self.path):
            return False
        path_end = self.path[len(self.path) - len(qualifier) :]
        return all(is_same_name(ident, path_ident.name) for ident, path_ident in zip(qualifier, path_end, strict=True))


def _is_alias(ident: Ident, alias: Ident) -> bool:
    """Return whether an identifier means an alias.

    A regular alias stands for its lower case (SQL-92 section 5.2, with the case that PostgreSQL uses).
    """
    return is_same_name(ident, alias.normalized_name)


@dataclass(slots=True)
class UnqualifiedColumn:
    """A column that a query can name without a qualifier.

    Attributes
    ----------
    name
        The stored name.
    source
        The item of FROM that has the column.
    index
        The position of the column in its source, from 0.
    expr
        The expression of a column that USING or NATURAL merged; None for the column of one source.
    """

    name: str
    source: FromSource
    index: int
    expr: Expr | None = None  # COALESCE(left, right) of a FULL JOIN

    def build_expression(self, text_offset: int) -> Expr:
        """Return the bound expression of a reference to this column.

        Parameters
        ----------
        text_offset
            The offset of the reference in the query, in characters.
        """
        if self.expr is not None:
            return self.expr
        return self.source.build_column_ref(self.index, text_offset)


@dataclass(slots=True)
class VisibleColumns:
    """The columns that FROM, or a part of it, makes visible.

    Attributes
    ----------
    sources
        The items in the order of FROM.
    merged_columns
        The columns that USING or NATURAL merged, by their names in lower case.
    shadowed_columns
        Source number and column position of the columns that unqualified names cannot mean, because they were merged.
    """

    sources: list[FromSource] = field(default_factory=list)
    merged_columns: dict[str, UnqualifiedColumn] = field(default_factory=dict)
    shadowed_columns: set[tuple[int, int]] = field(default_factory=set)

    def find_columns(self, ident: Ident) -> list[UnqualifiedColumn]:
        """Return all columns that an unqualified name may mean.

        Parameters
        ----------
        ident
            An identifier of a query.
        """
        found_columns: list[UnqualifiedColumn] = []
        if self.merged_columns:
            merged_column = self.merged_columns.get(ident.name.lower())
            if merged_column is not None and is_same_name(ident, merged_column.name):
                found_columns.append(merged_column)
        for source in self.sources:
            indexes = source.column_lookup.find_column_indexes(ident)
            if self.shadowed_columns:
                indexes = [index for index in indexes if (source.number, index) not in self.shadowed_columns]
            found_columns += [UnqualifiedColumn(ident.name, source, index) for index in indexes]
        return found_columns

    def list_star_columns(self) -> list[UnqualifiedColumn]:
        """List the columns of ``*``: first the merged ones, then the others in the order of FROM (SQL-92 section 7.5).

        Returns
        -------
        columns
            The columns without the hidden ones.
        """
        star_columns = list(self.merged_columns.values())
        for source in self.sources:
            for index, column in enumerate(source.column_lookup.columns):
                if (source.number, index) not in self.shadowed_columns and not column.hidden:
                    star_columns.append(UnqualifiedColumn(column.name, source, index))
        return star_columns


@dataclass(slots=True)
class NameScope:
    """The names that a SELECT can use, and the scopes of the queries around it for correlated subqueries.

    Attributes
    ----------
    visible_columns
        The columns of its FROM.
    outer_scope
        The scope of the query around it; None if there is none.
    aliases
        The aliases of the select list. HAVING and ORDER BY look a name up here if FROM has no such column.
    pending_items
        The items of the select list whose aliases WHERE cannot use yet; an error about one of them has a remedy of its
        own.
    windows
        The windows of the WINDOW clause.

    Common
    ------
    qualifier
        The identifiers before the column name.
    column_ref
        The reference to a column, which is not bound.
    query_text
        The text of the query, for line and column of errors.
    returns : Expr
        The bound expression that the name means.
    """

    visible_columns: VisibleColumns
    outer_scope: NameScope | None = None
    aliases: Sequence[tuple[Ident, Expr]] = ()
    pending_items: Sequence[SelectItem | SelectStar] = ()
    windows: Sequence[NamedWindow] = ()

    def resolve_column(self, column_ref: ColumnRef, query_text: str) -> Expr:
        """Resolve a column reference in this scope, or in those of the queries around it.

        Raises
        ------
        BindError
            There is no such column or table, or there are several. The error names the candidates or the nearest name.
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
        """Find an unqualified column in this scope, then among the aliases of the select list.

        Returns
        -------
        expr
            The bound expression; None if this scope does not have the name.
        """
        candidates = self.visible_columns.find_columns(column_ref.name)
        if len(candidates) > 1:
            candidate_names = [f"{format_source_name(item.source)}.{item.name}" for item in candidates]
            raise _build_ambiguous_column_error(column_ref, candidate_names, query_text)
        if candidates:
            return candidates[0].build_expression(column_ref.text_offset)
        aliased_expressions = self.find_aliased_expressions(column_ref.name)
        if len(aliased_expressions) == 1:
            return aliased_expressions[0]
        return None

    def find_qualified_column(self, column_ref: ColumnRef, query_text: str) -> Expr | None:
        """Find a qualified column in this scope.

        Returns
        -------
        expr
            The bound reference; None if this scope does not have the table.

        Raises
        ------
        BindError
            The table has no such column, or several columns have the name.
        """
        sources = self.find_qualified_sources(column_ref.qualifier)
        candidates: list[tuple[FromSource, int]] = []
        for source in sources:
            candidates += [(source, index) for index in source.column_lookup.find_column_indexes(column_ref.name)]
        if len(candidates) == 1:
            source, index = candidates[0]
            return source.build_column_ref(index, column_ref.text_offset)
        if len(candidates) > 1:
            candidate_names = [
                f"{format_source_name(source)}.{source.column_lookup.columns[index].name}"
                for source, index in candidates
            ]
            raise _build_ambiguous_column_error(column_ref, candidate_names, query_text)
        # the facts about the file of a mapping's source are columns with a dot in their names: file.path, source.row
        dotted_name = ".".join(part.name for part in (*column_ref.qualifier, column_ref.name))
        dotted_columns = self.visible_columns.find_columns(Ident(dotted_name, quoted=True))
        if len(dotted_columns) == 1:
            return dotted_columns[0].build_expression(column_ref.text_offset)
        if not sources:
            return None
        name = column_ref.name.name
        message = format_message("no column {name!r} in {tables}", name, format_source_name(sources[0]))
        remedy = suggest_nearest_name(name, _list_column_names(sources))
        raise BindError(message, text=query_text, offset=column_ref.text_offset, remedy=remedy)

    def find_qualified_sources(self, qualifier: Sequence[Ident]) -> list[FromSource]:
        """Return the FROM items that a qualifier means: by alias, else by the name that an alias hides.

        SQL-92 section 6.3 forbids the second, but other services accept it widely.
        """
        sources = self.visible_columns.sources
        exposed_sources = [source for source in sources if source.is_named_by_qualifier(qualifier)]
        return exposed_sources or [source for source in sources if source.has_table_name(qualifier)]

    def find_aliased_expressions(self, ident: Ident) -> list[Expr]:
        """Return the expressions of the select list with an alias.

        Parameters
        ----------
        ident
            The alias as the query refers to it.
        """
        return [expr for alias, expr in self.aliases if is_same_name(ident, alias.name) or _is_alias(ident, alias)]

    def _list_all_sources(self) -> list[FromSource]:
        scope: NameScope | None = self
        sources: list[FromSource] = []
        while scope is not None:
            sources.extend(scope.visible_columns.sources)
            scope = scope.outer_scope
        return sources

    def build_missing_table_error(self, qualifier: Sequence[Ident], text_offset: int, query_text: str) -> BindError:
        """Build the error about a table that FROM does not have.

        Parameters
        ----------
        text_offset
            The offset of the qualifier in the query, in characters.

        Returns
        -------
        error
            The error with the nearest name as remedy.
        """
        name = ".".join(part.name for part in qualifier)
        source_names = [format_source_name(source) for source in self._list_all_sources()]
        remedy = suggest_spelling(name, source_names)
        if not remedy:
            remedy = "add FROM and a table"
            if source_names:
                remedy = format_message("use one of {known}", ", ".join(source_names))
        message = format_message("no table {name!r} in FROM", name)
        return BindError(message, text=query_text, offset=text_offset, remedy=remedy)

    def _build_missing_column_error(self, column_ref: ColumnRef, query_text: str) -> BindError:
        if column_ref.qualifier:
            return self.build_missing_table_error(column_ref.qualifier, column_ref.text_offset, query_text)
        ident = column_ref.name
        sources = self._list_all_sources()
        column_names = _list_column_names(sources)
        same_names = [name for name in column_names if name.lower() == ident.name.lower()]
        keyword = ident.name.upper()
        if keyword in FOREIGN_KEYWORDS and not ident.quoted and not same_names:
            message, remedy = FOREIGN_KEYWORDS[keyword]
            return BindError(message, text=query_text, offset=column_ref.text_offset, remedy=remedy)
        source_names = ", ".join(format_source_name(source) for source in sources)
        if source_names:
            message = format_message("no column {name!r} in {tables}", ident.name, source_names)
        else:
            message = format_message("no column {name!r}", ident.name)
        remedy = self._suggest_column_remedy(ident, column_names, same_names)
        return BindError(message, text=query_text, offset=column_ref.text_offset, remedy=remedy)

    def _suggest_column_remedy(self, ident: Ident, column_names: list[str], same_names: list[str]) -> str:
        """Return the remedy for an unknown column; `same_names` differ from it in case only."""
        pending_aliases = [item.alias for item in self.pending_items if isinstance(item, SelectItem) and item.alias]
        if any(_is_alias(ident, alias) for alias in pending_aliases):
            return format_message(
                "write the expression that {name} stands for; names from the select list cannot be used here",
                ident.name,
            )
        if ident.quoted and not same_names and not suggest_spelling(ident.name, column_names):
            return format_message(
                "write strings in single quotes: {name}; double quotes are for names", quote_adql_string(ident.name)
            )
        sources = self._list_all_sources()
        if not sources:
            return "add FROM and a table"
        if same_names:
            return format_message('write "{name}" or {name}; names in double quotes are case-sensitive', same_names[0])
        remedy = suggest_nearest_name(ident.name, column_names)
        if not remedy and len(sources) == 1 and column_names:
            template = "use one of {names}"
            if len(column_names) > MAX_NAMED_COLUMNS:
                template = "use one of {names} .."
            remedy = format_message(template, ", ".join(column_names[:MAX_NAMED_COLUMNS]))
        return remedy


def _list_column_names(sources: Iterable[FromSource]) -> list[str]:
    """List the names of the columns of FROM items, each name once, without hidden columns."""
    names: dict[str, None] = {}
    for source in sources:
        names.update(dict.fromkeys(column.name for column in source.column_lookup.columns if not column.hidden))
    return list(names)


def quote_adql_string(text: str) -> str:
    """Write a text as a string literal of ADQL.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    literal
        The text in single quotes; single quotes inside are doubled.
    """
    escaped_text = text.replace("'", "''")
    return f"'{escaped_text}'"


def format_source_name(source: FromSource) -> str:
    """Return the name of a FROM item for messages.

    Parameters
    ----------
    source
        An item of FROM with an alias or a path.
    """
    if source.alias is not None:
        return source.alias.name
    return ".".join(part.name for part in source.path)


def suggest_nearest_name(word: str, known_names: Iterable[str], *, is_dotted: bool = False) -> str:
    """Return the remedy ``did you mean x?`` for an unknown table or column.

    The remedy has the name as a query must write it, with quotes if it needs them.

    Parameters
    ----------
    word
        The unknown name, as the user wrote it.
    known_names
        The names that exist.
    is_dotted
        Whether the names have the form ``schema.table``.

    Returns
    -------
    remedy
        The remedy; empty if no name is similar.
    """
    closest = find_close_match(word, known_names)
    if closest is None:
        return ""
    return format_suggestion(closest, is_dotted=is_dotted)


def format_suggestion(name: str, *, is_dotted: bool = False) -> str:
    """Return the remedy ``did you mean x?``.

    Parameters
    ----------
    name
        The name of a column or table.
    is_dotted
        Whether the name has the form ``schema.table``.

    Returns
    -------
    remedy
        The remedy; the name stands in single quotes unless a query must write it in double quotes.
    """
    if is_dotted:
        quoted_name = quote_dotted_name(name)
    else:
        quoted_name = quote_adql_name(name)
    template = "did you mean {name}?" if '"' in quoted_name else "did you mean {name!r}?"
    return format_message(template, quoted_name)


def quote_dotted_name(name: str) -> str:
    """Quote the parts of ``schema.table`` that need quotes.

    Parameters
    ----------
    name
        The qualified name of a table.

    Returns
    -------
    name
        The name as a query contains it.
    """
    return ".".join(map(quote_adql_name, name.split(".")))


def _build_ambiguous_column_error(column_ref: ColumnRef, candidates: list[str], query_text: str) -> BindError:
    names = list(dict.fromkeys(candidates))
    candidate_phrase = ", ".join(names)
    if len(names) == 1:
        table_name = names[0].rpartition(".")[0]
        candidate_phrase = format_message("{count} columns of {table}", len(candidates), table_name)
    message = format_message("column {name!r} is ambiguous: {several}", column_ref.name.name, candidate_phrase)
    remedy = "qualify it, or give an alias to each table"
    return BindError(message, text=query_text, offset=column_ref.text_offset, remedy=remedy)
