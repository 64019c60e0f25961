"""Tables that are read in place.

A `TableSpec` and what the database says of its table -> bound queries that the database can run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql import parse_expression
from hven.adql.syntax_tree import ColumnRef, Expr, FunctionCall, Select, SelectItem, TableRef, walk_tree
from hven.descriptor.mapping import compile_mapping
from hven.descriptor.written_yaml import WrittenScalar
from hven.engines import load_live_module
from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, HvenError, StorageUnavailableError
from hven.model.settings import resolve_secret
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, SourceContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.adql.syntax_tree import BoundQuery
    from hven.descriptor.compiled_mapping import CompiledMapping
    from hven.model.errors import Place
    from hven.model.resource import Resource, TableSpec
    from hven.model.settings import Settings
    from hven.model.table import Table

LIVE_SOURCE_KIND = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTable:
    """A table that is read in place.

    Attributes
    ----------
    queries
        SELECTs over the pseudo table ``source``, one for each granule.
    copies
        Published column -> column of the database's table that it is, unchanged.
    position_index
        What finds positions there: ``q3c``, ``pgsphere``, or empty.
    index_hints
        Indexes that the database lacks.
    warnings
        Of the descriptor.
    """

    table: Table
    queries: tuple[BoundQuery, ...]
    copies: Mapping[str, str]
    position_index: str = ""
    index_hints: tuple[Any, ...] = ()
    warnings: tuple[Fault, ...] = ()


def is_live(spec: TableSpec) -> bool:
    """Return whether a table is read in place.

    Parameters
    ----------
    spec
        As its descriptor has it.
    """
    return any(source.kind == LIVE_SOURCE_KIND for source in spec.sources)


def find_live_table_faults(spec: TableSpec) -> list[Fault]:
    """Check what a descriptor says of a table that is read in place; needs no database.

    Parameters
    ----------
    spec
        As its descriptor has it.

    Returns
    -------
    faults
        Errors and warnings.
    """
    if not is_live(spec):
        return []
    key_path = f"tables.{spec.table.name}"
    faults = []
    if len(spec.sources) > 1:
        remedy = "give each its own table, and join them by a view"
        faults.append(
            Fault(
                message=f"{key_path}.source: a table that is read in place has one source",
                place=spec.sources[1].place,
                remedy=remedy,
            )
        )
    if spec.sync:
        message = f"{key_path}.sync: a table that is read in place is always as its database has it"
        faults.append(Fault(message=message, place=spec.place, remedy="remove it", severity="warning"))
    if spec.flags is not None and not spec.flags.is_supplied:
        message = f"{key_path}.flags: the rows of a table that is read in place are not checked, so nothing sets flags"
        faults.append(
            Fault(message=message, place=spec.flags.place, remedy="kind: sql copies the rows, and checks them")
        )
    if spec.max_rejected_share is not None:
        faults.append(
            Fault(
                message=f"{key_path}.max_rejects: no row is checked where none is read in",
                place=spec.place,
                severity="warning",
            )
        )
    return faults


def check_against_database(spec: TableSpec, resource: Resource, settings: Settings) -> list[Fault]:
    """Check a table against its database.

    Parameters
    ----------
    spec
        As its descriptor has it.
    resource
        Its collection.
    settings
        Of the site.

    Returns
    -------
    faults
        Errors and warnings; also which indexes are missing there.
    """
    key_path = f"tables.{spec.table.name}"
    source = spec.sources[0]
    module = plugins.load_plugin("sources", LIVE_SOURCE_KIND)
    try:
        inspected_table = module.open(
            module.Options.model_validate(dict(source.options)),
            SourceContext(resolve_secret=partial(resolve_secret, settings.directory)),
        ).inspect_table()
    except HvenError as error:
        is_unreachable = isinstance(error, StorageUnavailableError) or "secret" in error.message
        return [
            Fault(
                message=f"{key_path}.source: {error.message}",
                place=source.place,
                remedy=error.remedy,
                severity="warning" if is_unreachable else "error",
            )
        ]
    try:
        live_table = compile_live_table(spec, resource, inspected_table)
    except DescriptorError as error:
        return list(error.faults)
    hints = [
        Fault(message=f"{key_path}: {hint.message}", place=source.place, remedy=hint.remedy, severity="warning")
        for hint in live_table.index_hints
    ]
    return [*live_table.warnings, *hints]


def compile_live_table(spec: TableSpec, resource: Resource, inspected_table: Any) -> LiveTable:
    """Compile the mapping of a table over what the database says of it.

    Parameters
    ----------
    spec
        As its descriptor has it.
    resource
        Its collection.
    inspected_table
        `hven.sources.live.LiveTableInfo`.

    Returns
    -------
    made
        The table, and the queries that the database runs.

    Raises
    ------
    DescriptorError
        Every fault: names, types, units, and what cannot be said in SQL.
    """
    key_path = f"tables.{spec.table.name}"
    compiled_mapping = compile_mapping(spec, inspected_table.describe_columns(), resource)
    faults = [*_find_unsupported_faults(spec, compiled_mapping, key_path)]
    if faults:
        raise DescriptorError(faults)
    live_source = plugins.load_plugin("sources", LIVE_SOURCE_KIND)
    served_types = {
        served_column.name: served_column.served_type.type for served_column in inspected_table.list_served_columns()
    }
    target_types = {column.name: column.type for column in compiled_mapping.table.columns}
    copies = {
        target: source_column
        for target, source_column in compiled_mapping.copies.items()
        if served_types.get(source_column) == target_types[target]
    }
    table = compiled_mapping.table
    position = ""
    columns = None
    if table.position is not None and set(table.position) <= copies.keys():
        columns = (copies[table.position[0]], copies[table.position[1]])
        position = live_source.find_position_index(inspected_table, *columns)
    primary = (
        table.primary
        or tuple(
            target
            for source_column in inspected_table.primary
            for target, copied_column in copies.items()
            if copied_column == source_column
        )[: len(inspected_table.primary)]
    )
    table = table.copy_with(
        primary=primary, columns=tuple(column.copy_with(required=column.required) for column in table.columns)
    )
    keys = {copies[name]: "the key" for name in primary[:1] if name in copies}
    keys |= {
        copies[column.name]: "the indexed column"
        for column in table.columns
        if column.indexed and column.name in copies
    }
    hints = list(live_source.list_index_hints(inspected_table, columns, keys))
    if table.position is not None and columns is None:
        message = f"positions are computed from other columns ({', '.join(table.position)}), so no index serves cones"
        hints.append(
            live_source.IndexHint(
                message=message, remedy="keep longitude and latitude in degrees in columns of the source"
            )
        )
    warnings = [
        *compiled_mapping.warnings,
        *(
            Fault(
                message=f"{key_path}.source: {text.split('; ', 1)[0]}",
                place=spec.sources[0].place,
                remedy=text.split("; ", 1)[1],
                severity="warning",
            )
            for text in inspected_table.list_omissions()
        ),
    ]
    if spec.rules:
        # not one of its standard
        source_column = next((rule.place for rule in spec.rules if rule.place.file == spec.place.file), spec.place)
        message = f"{key_path}.rules: the rows of a table that is read in place are not checked"
        warnings.append(
            Fault(
                message=message,
                place=source_column,
                remedy="let the database check them, or leave such rows out by 'where'; hven lint looks at what is "
                "served",
                severity="warning",
            )
        )
    if inspected_table.encoding == "SQL_ASCII":
        message = (
            f"{key_path}.source: the database says nothing of its encoding (SQL_ASCII), so text that is not UTF-8 "
            f"breaks an answer off"
        )
        warnings.append(
            Fault(
                message=message,
                place=spec.sources[0].place,
                remedy="move it to a database with ENCODING 'UTF8'",
                severity="warning",
            )
        )
    queries = tuple(_adapt_query(bound, table) for bound in compiled_mapping.queries)
    position_index = position if position in {"q3c", "pgsphere"} else ""
    return LiveTable(
        table=table,
        queries=queries,
        copies=copies,
        position_index=position_index,
        index_hints=tuple(hints),
        warnings=tuple(warnings),
    )


def _adapt_query(bound: BoundQuery, table: Table) -> BoundQuery:
    """Drop the row's number from the query, and set each column's declared type."""
    body = bound.query.body
    if not isinstance(body, Select):
        raise TypeError(type(body).__name__)
    items = [
        replace(item, column=item.column.copy_with(type=table.find_column(item.column.name).type))
        for item in body.items
        if isinstance(item, SelectItem) and item.column is not None and item.column.name != ROW_NUMBER_COLUMN
    ]
    query = replace(bound.query, body=replace(body, items=tuple(items)))
    return replace(bound, query=query)


def _find_unsupported_faults(spec: TableSpec, compiled_mapping: CompiledMapping, key_path: str) -> Iterator[Fault]:
    """Find what cannot be said in SQL, with its place."""
    remedy = "copy the table (kind: sql), or let a view of the database compute it"
    for call in compiled_mapping.calls:
        if call.path is not None:
            kind = "is a Python function"
        else:
            kind = "is for ingests"
        yield Fault(
            message=f"{key_path}: {call.name} {kind}, which a table that is read in place cannot call",
            place=call.place,
            remedy=remedy,
        )
    places = {
        setting.column: setting
        for setting in (
            *spec.settings,
            *(granule_setting for granule in spec.granules for granule_setting in granule.settings),
        )
    }
    for name in compiled_mapping.lookups:
        setting = next(
            (granule_setting for granule_setting in places.values() if granule_setting.how == "lookup"), None
        )
        if setting is None:
            message = f"{key_path}.lookup: a lookup with more than 64 keys cannot be said in SQL"
        else:
            message = f"{key_path}.lookup.{setting.column}: more than 64 keys cannot be said in SQL"
        yield Fault(
            message=message,
            place=spec.place if setting is None else setting.place,
            remedy=f"put {name.replace('_', ' ')} into a table of the database and join it in a view",
        )
    reported_messages: set[str] = set()  # each granule has a query, and what is common to them is told once
    for bound in compiled_mapping.queries:
        body = bound.query.body
        if not isinstance(body, Select) or not isinstance(body.source, TableRef):
            continue
        for item in [*body.items, *([body.where] if body.where is not None else [])]:
            if isinstance(item, SelectItem) and item.column is not None:
                column = item.column.name
            else:
                column = None
            if column == ROW_NUMBER_COLUMN:
                continue
            tree = item.expr if isinstance(item, SelectItem) else item
            if not isinstance(tree, Expr):
                continue
            facts = sorted(
                {node.name.name for node in walk_tree(tree) if isinstance(node, ColumnRef)}
                & {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}
            )
            if facts:
                unsupported_reason = f"{facts[0]} is a fact of files"
            else:
                unsupported_reason = load_live_module().find_unsupported_function(tree)
            if unsupported_reason:
                place = _locate_function(spec, column, unsupported_reason.split(" ", 1)[0])
                if column in places:
                    where = f"{key_path}.{places[column].how}.{column}"
                else:
                    where = f"{key_path}.{'where' if column is None else f'columns.{column}'}"
                fault_message = f"{where}: {unsupported_reason}" + (
                    "" if facts else " cannot be said in the SQL of the database"
                )
                if fault_message in reported_messages:
                    continue
                reported_messages.add(fault_message)
                yield Fault(message=fault_message, place=place, remedy=remedy)


def _locate_function(spec: TableSpec, column: str | None, function_name: str) -> Place:
    """Find where a function stands: in what sets the column, in a `let`, in `where`; else where the column is set."""
    texts: list[Any] = [setting.value for setting in spec.settings if setting.column == column and setting.how == "map"]
    texts += [spec.where[0]] if column is None and spec.where is not None else []
    texts += [text for text, _ in spec.let.values()]
    for text in texts:
        if not isinstance(text, WrittenScalar):
            continue
        try:
            tree = parse_expression(str(text))
        except HvenError:
            continue
        node = next(
            (
                node
                for node in walk_tree(tree)
                if isinstance(node, FunctionCall) and node.name.upper() == function_name.upper()
            ),
            None,
        )
        if node is not None:
            return text.locate_character(node.text_offset)
    setting = next((setting for setting in spec.settings if setting.column == column), None)
    if setting is not None:
        return setting.place
    if column is None and spec.where is not None:
        return spec.where[1]
    return spec.place


__all__ = ["LIVE_SOURCE_KIND", "LiveTable", "compile_live_table", "find_live_table_faults", "is_live"]
