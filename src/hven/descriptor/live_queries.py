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
from hven.descriptor.written_yaml import LocatedYamlScalar
from hven.engines import LIVE_SOURCE_KIND, load_live_engine_module
from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, HvenError, StorageUnavailableError
from hven.model.settings import resolve_secret
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, SourceContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery
    from hven.descriptor.compiled_mapping import CompiledMapping
    from hven.model.errors import TextPlace
    from hven.model.resource import CollectionSpec, TableSpec
    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.sources import LiveTableDescription


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
        Warnings of the descriptor.
    """

    table: Table
    queries: tuple[BoundQuery, ...]
    copies: Mapping[str, str]
    position_index: str = ""
    index_hints: tuple[Any, ...] = ()
    warnings: tuple[Fault, ...] = ()


def is_live_table_spec(spec: TableSpec) -> bool:
    """Return whether a table is read in place.

    Parameters
    ----------
    spec
        Parts of the table's descriptor.
    """
    return any(source.kind == LIVE_SOURCE_KIND for source in spec.sources)


def find_live_table_faults(spec: TableSpec) -> list[Fault]:
    """Check the descriptor of a table that is read in place; this needs no database.

    Parameters
    ----------
    spec
        Parts of the table's descriptor.

    Returns
    -------
    faults
        Errors and warnings.
    """
    if not is_live_table_spec(spec):
        return []
    key_path = f"tables.{spec.table.name}"
    faults = []
    if len(spec.sources) > 1:
        message = f"{key_path}.source: a table that is read in place can have only one source"
        remedy = "write a table for each source, and combine them in a view with UNION ALL"
        faults.append(Fault(message=message, place=spec.sources[1].place, remedy=remedy))
    if spec.sync:
        message = f"{key_path}.sync: Hven reads this table in place, so the table needs no sync"
        faults.append(Fault(message=message, place=spec.place, remedy="remove 'sync'", severity="warning"))
    if spec.flags is not None and not spec.flags.is_supplied:
        message = f"{key_path}.flags: Hven does not check rows that it reads in place, so nothing sets flags"
        remedy = "write `kind: sql` to copy and check the rows"
        faults.append(Fault(message=message, place=spec.flags.place, remedy=remedy))
    if spec.max_rejected_share is not None:
        message = f"{key_path}.max_rejects: Hven does not check rows that it reads in place"
        faults.append(Fault(message=message, place=spec.place, severity="warning"))
    return faults


def find_live_source_faults(spec: TableSpec, resource: CollectionSpec, settings: Settings) -> list[Fault]:
    """Check a table against its database.

    Parameters
    ----------
    spec
        Parts of the table's descriptor.
    resource
        Collection of the table.
    settings
        Settings of the site.

    Returns
    -------
    faults
        Errors and warnings, and the indexes that the database lacks.
    """
    key_path = f"tables.{spec.table.name}"
    source = spec.sources[0]
    module = plugins.load_plugin("sources", LIVE_SOURCE_KIND)
    try:
        options = module.Options.model_validate(dict(source.options))
        context = SourceContext(resolve_secret=partial(resolve_secret, settings.directory))
        inspected_table = module.open(options, context).inspect_table()
    except HvenError as error:
        message = f"{key_path}.source: {error.message}"
        is_unreachable = isinstance(error, StorageUnavailableError) or "secret" in error.message
        severity = "warning" if is_unreachable else "error"
        return [Fault(message=message, place=source.place, remedy=error.remedy, severity=severity)]
    try:
        live_table = compile_live_table(spec, resource, inspected_table)
    except DescriptorError as error:
        return list(error.faults)
    faults = list(live_table.warnings)
    for hint in live_table.index_hints:
        message = f"{key_path}: {hint.message}"
        faults.append(Fault(message=message, place=source.place, remedy=hint.remedy, severity="warning"))
    return faults


def compile_live_table(spec: TableSpec, resource: CollectionSpec, inspected_table: LiveTableDescription) -> LiveTable:
    """Compile the mapping of a table over the columns of the database.

    Parameters
    ----------
    spec
        Parts of the table's descriptor.
    resource
        Collection of the table.
    inspected_table
        What the source reports.

    Returns
    -------
    live_table
        The table, and the queries that the database runs.

    Raises
    ------
    DescriptorError
        All faults of names, types and units, and all expressions that the database's SQL does not have.
    """
    key_path = f"tables.{spec.table.name}"
    compiled_mapping = compile_mapping(spec, inspected_table.describe_columns(), resource)
    faults = list(_find_unsupported_faults(spec, compiled_mapping, key_path))
    if faults:
        raise DescriptorError(faults)
    live_source = plugins.load_plugin("sources", LIVE_SOURCE_KIND)
    served_types = {column.name: column.served_type.type for column in inspected_table.list_served_columns()}
    table = compiled_mapping.table
    target_types = {column.name: column.type for column in table.columns}
    copies = {
        target: source_column
        for target, source_column in compiled_mapping.copies.items()
        if served_types.get(source_column) == target_types[target]
    }
    position_index = ""
    position_columns = None
    if table.position is not None and copies.keys() >= set(table.position):
        longitude, latitude = table.position
        position_columns = (copies[longitude], copies[latitude])
        position_index = live_source.find_cone_search_index(inspected_table, *position_columns)
    primary = table.primary or _find_primary_key(inspected_table.primary, copies)
    columns = tuple(column.copy_with(required=column.required) for column in table.columns)
    table = table.copy_with(primary=primary, columns=columns)
    index_purposes = {copies[name]: "the key" for name in primary[:1] if name in copies}
    for column in table.columns:
        if column.indexed and column.name in copies:
            index_purposes[copies[column.name]] = "the column"
    hints = list(live_source.list_missing_index_hints(inspected_table, position_columns, index_purposes))
    if table.position is not None and position_columns is None:
        message = (
            f"the position columns ({', '.join(table.position)}) are computed or converted, so cone searches cannot "
            "use an index"
        )
        remedy = "store longitude and latitude in degrees in the source, and copy these columns unchanged"
        hints.append(live_source.MissingIndexHint(message=message, remedy=remedy))
    if position_index not in {"q3c", "pgsphere"}:
        position_index = ""
    return LiveTable(
        table=table,
        queries=tuple(_drop_row_number_and_set_types(bound, table) for bound in compiled_mapping.queries),
        copies=copies,
        position_index=position_index,
        index_hints=tuple(hints),
        warnings=(*compiled_mapping.warnings, *_find_live_warnings(spec, inspected_table, key_path)),
    )


def _find_primary_key(source_key: Sequence[str], copies: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns of the table that copy the primary key of the database's table."""
    key_columns = []
    for source_column in source_key:
        key_columns += [target for target, copied_column in copies.items() if copied_column == source_column]
    return tuple(key_columns[: len(source_key)])


def _find_live_warnings(spec: TableSpec, inspected_table: LiveTableDescription, key_path: str) -> Iterator[Fault]:
    """Warn of columns that are left out, of rules that nobody runs, and of text in an unknown encoding."""
    source_place = spec.sources[0].place
    for omission in inspected_table.explain_omitted_columns():
        reason, remedy = omission.split("; ", 1)
        yield Fault(message=f"{key_path}.source: {reason}", place=source_place, remedy=remedy, severity="warning")
    if spec.rules:
        # the place of a rule of the table's own, not of its standard
        rule_place = next((rule.place for rule in spec.rules if rule.place.file == spec.place.file), spec.place)
        yield Fault(
            message=f"{key_path}.rules: Hven does not check rows that it reads in place",
            place=rule_place,
            remedy=(
                "check the rows in the database, or exclude invalid rows with 'where'; to check the rows that "
                "Hven serves, run `hven lint`"
            ),
            severity="warning",
        )
    if inspected_table.encoding == "SQL_ASCII":
        message = (
            f"{key_path}.source: the database does not declare its encoding (SQL_ASCII), so a result ends "
            "with an error at the first text that is not UTF-8"
        )
        remedy = "move the table to a database with ENCODING 'UTF8'"
        yield Fault(message=message, place=source_place, remedy=remedy, severity="warning")


def _drop_row_number_and_set_types(bound: BoundQuery, table: Table) -> BoundQuery:
    """Drop the row's number from a query, and give each column its declared type."""
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
    """Find expressions that the database's SQL does not have, with their places."""
    remedy = "copy the table (kind: sql), or compute the value in a view of the database"
    for call in compiled_mapping.calls:
        reason = "works only at ingest" if call.path is None else "is written in Python"
        message = f"{key_path}: the function {str(call.name)!r} {reason}, but Hven reads this table in place"
        yield Fault(message=message, place=call.place, remedy=remedy)
    settings = list(spec.settings)
    for granule in spec.granules:
        settings += granule.settings
    settings_by_column = {setting.column: setting for setting in settings}
    lookup_settings = [setting for setting in settings_by_column.values() if setting.how == "lookup"]
    for _ in compiled_mapping.lookups:
        message = f"{key_path}.lookup: a lookup with more than 64 keys cannot be written in SQL"
        place = spec.place
        if lookup_settings:
            message = f"{key_path}.lookup.{lookup_settings[0].column}: more than 64 keys cannot be written in SQL"
            place = lookup_settings[0].place
        table_remedy = "put the keys and values into a table of the database, and join this table in a view"
        yield Fault(message=message, place=place, remedy=table_remedy)
    reported_messages: set[str] = set()  # each granule has a query; a fault that they share is reported once
    for bound in compiled_mapping.queries:
        for column, tree in _iterate_query_expressions(bound):
            reason = _explain_unsupported_expression(tree)
            if not reason:
                continue
            if column in settings_by_column:
                expression_path = f"{key_path}.{settings_by_column[column].how}.{column}"
            elif column is None:
                expression_path = f"{key_path}.where"
            else:
                expression_path = f"{key_path}.columns.{column}"
            message = f"{expression_path}: {reason}"
            if message not in reported_messages:
                reported_messages.add(message)
                function_name = reason.split(" ", 1)[0]
                yield Fault(message=message, place=_locate_function_use(spec, column, function_name), remedy=remedy)


def _iterate_query_expressions(bound: BoundQuery) -> Iterator[tuple[str | None, Expr]]:
    """Yield the expressions of a query over the source, each with its column; the condition has none."""
    body = bound.query.body
    if not isinstance(body, Select) or not isinstance(body.source, TableRef):
        return
    for item in body.items:
        if isinstance(item, SelectItem) and isinstance(item.expr, Expr):
            column_name = None
            if item.column is not None:
                column_name = item.column.name
            if column_name != ROW_NUMBER_COLUMN:
                yield column_name, item.expr
    if isinstance(body.where, Expr):
        yield None, body.where


def _explain_unsupported_expression(tree: Expr) -> str:
    """Return why the database cannot compute an expression; empty if it can."""
    column_names = {node.name.name for node in walk_tree(tree) if isinstance(node, ColumnRef)}
    file_facts = sorted(column_names & {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS})
    if file_facts:
        return f"{file_facts[0]} is a fact about files"
    function_text = load_live_engine_module().find_unsupported_function(tree)
    if function_text:
        return f"{function_text} cannot be written in the database's SQL"
    return ""


def _locate_function_use(spec: TableSpec, column: str | None, function_name: str) -> TextPlace:
    """Find a function in the setting of a column, in ``let`` or in ``where``; else return where the column is set."""
    column_settings = [setting for setting in spec.settings if setting.column == column]
    texts: list[Any] = [setting.value for setting in column_settings if setting.how == "map"]
    if column is None and spec.where is not None:
        texts.append(spec.where[0])
    texts += [text for text, _ in spec.let.values()]
    for text in texts:
        if not isinstance(text, LocatedYamlScalar):
            continue
        try:
            tree = parse_expression(str(text))
        except HvenError:
            continue
        for node in walk_tree(tree):
            if isinstance(node, FunctionCall) and node.name.upper() == function_name.upper():
                return text.locate_character(node.text_offset)
    if column_settings:
        return column_settings[0].place
    if column is None and spec.where is not None:
        return spec.where[1]
    return spec.place
