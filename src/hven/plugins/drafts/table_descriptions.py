"""What others say of their tables - schemas, configurations, ReadMes, collections - as first descriptors.

Each kind of description is a plug-in of the group ``descriptions``. ``DESCRIPTION`` of a kind says how its documents
are recognized. Its ``read_table_set_description`` reads the tables that they describe. This module writes the
descriptor of them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.key_proposals import ColumnGuess, quote_source_name
from hven.descriptor.api.table_descriptions import SIGNATURE_BYTES, name_matches_pattern
from hven.descriptor.api.yaml_text import (
    format_yaml_comment,
    format_yaml_flow_value,
    format_yaml_folded_text,
    format_yaml_scalar,
)
from hven.model import plugins
from hven.model.errors import SourceError, UsageError, suggest_spelling
from hven.plugins.drafts.column_guesses import (
    guess_columns,
    is_reserved_adql_word,
    to_adql_identifier,
    write_guess_comment,
)
from hven.plugins.drafts.position_guesses import (
    build_position_column_guesses,
    find_body_position_columns,
    find_sky_position_columns,
    write_body_position_note,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from hven.descriptor.api.table_descriptions import DescribedTable, TableDescriptionRequest, TableSetDescription
    from hven.model.table import Column

MAX_TABLES = 500  # tables of one descriptor
MAX_LISTED_TABLES = 12  # tables that a message lists


def read_table_description_file(request: TableDescriptionRequest) -> TableSetDescription | None:
    """Read a file if it is a description of some kind; None: it is none.

    Raises
    ------
    SourceError
        It is one, and has faults, or describes what is not there.
    UsageError
        It has no table of the name that was chosen.
    """
    module = _find_description_module(request.path)
    if module is None:
        return None
    return _select_tables(module.read_table_set_description(request), request)


def is_table_description_file(path: Path) -> bool:
    """Check whether a file is a description of some kind.

    Parameters
    ----------
    path
        Path of the file.
    """
    return _find_description_module(path) is not None


def _find_description_module(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            head = file.read(SIGNATURE_BYTES)
    except OSError:
        return None
    patterns = ((module, module.DESCRIPTION.signature_pattern) for module in _load_description_modules())
    return next((module for module, pattern in patterns if pattern and re.search(pattern, head)), None)


def read_service_table_descriptions(request: TableDescriptionRequest) -> TableSetDescription | None:
    """Ask a service for what it says of several tables; None: none of them is known, or one table is meant.

    Raises
    ------
    SourceError
        It does not respond.
    UsageError
        It has no such tables.
    """
    if "*" not in (request.table or ""):
        return None
    for module in _load_description_modules():
        if module.DESCRIPTION.address_pattern and re.fullmatch(
            module.DESCRIPTION.address_pattern, request.address, re.IGNORECASE
        ):
            description: TableSetDescription = module.read_table_set_description(request)
            return description
    return None


def _load_description_modules() -> list[ModuleType]:
    return [plugins.load_plugin("descriptions", name) for name in plugins.list_plugins("descriptions")]


def _select_tables(description: TableSetDescription, request: TableDescriptionRequest) -> TableSetDescription:
    """Keep the table that was asked for."""
    tables = description.tables
    if request.table is not None:
        tables = [table for table in tables if name_matches_pattern(request.table, table.name)]
        if not tables:
            table_names = [table.name for table in description.tables]
            raise UsageError(
                f"the {description.kind} does not describe a table named {request.table}",
                remedy=suggest_spelling(request.table, table_names)
                or f"choose one of its tables: {', '.join(table_names[:MAX_LISTED_TABLES])}",
            )
    if not tables:
        raise SourceError(f"the {description.kind} describes no table", remedy="check the file")
    if len(tables) > MAX_TABLES:
        raise UsageError(
            (
                f"the {description.kind} describes {len(tables):,} tables, but Hven can draft at most {MAX_TABLES} at "
                "once"
            ),
            remedy="choose fewer tables with --table 'NAME*'",
        )
    return replace(description, tables=tables)


# --- writing ---------------------------------------------------------------------------------------------------------


def write_collection_descriptor(name: str, origin: str, description: TableSetDescription) -> str:
    """Write the descriptor of a collection with all its tables."""
    target_names = _assign_table_names(description.tables)
    guesses = {table.name: _guess_table_columns(table) for table in description.tables}
    first_name = next(iter(target_names.values()))
    lines = [
        (
            f"# A first descriptor, from the {description.kind} {format_yaml_comment(origin)}. Check it and "
            "correct what is wrong;"
        ),
        (
            f"# `hven check {name}` reports every error, `hven ingest {name}` publishes "
            f"{name}.{first_name}{' and the others' if len(target_names) > 1 else ''}."
        ),
        f"collection: {format_yaml_scalar(name)}",
        f"title: {format_yaml_scalar(description.title or name.replace('_', ' ').capitalize())}"
        + ("" if description.title else "  # one line for people"),
        *(
            format_yaml_folded_text("description", description.description)
            if description.description
            else ["# description: a few sentences - what the data are, where they come from, how good they are"]
        ),
        *(f"{key}: {format_yaml_flow_value(value)}" for key, value in description.collection_keys.items()),
        *(f"# {format_yaml_comment(note)}" for note in description.notes),
        "tables:",
    ]
    for table in description.tables:
        lines += _write_table(table, target_names, guesses)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _guess_table_columns(table: DescribedTable) -> list[ColumnGuess]:
    """Name columns, and guess units and UCDs where nothing is said."""
    guesses = guess_columns(table.columns, {}, is_complete=False, narrowable_names=())
    used_names = {item.column.name for item in guesses}
    for guess_index, item in enumerate(guesses):
        name = to_adql_identifier(table.names.get(item.source, item.source))
        if item.source in table.names and name != item.column.name and name not in used_names:
            used_names.add(name)
            if is_reserved_adql_word(table.names[item.source]):
                label = table.names[item.source]
            else:
                label = None
            column = item.column.copy_with(name=name, label=label)
            expression = item.expression or quote_source_name(item.source)
            guesses[guess_index] = replace(
                item,
                column=column,
                expression=expression,
            )
    return guesses + build_position_column_guesses(guesses)


def _assign_table_names(tables: Sequence[DescribedTable]) -> dict[str, str]:
    """Name tables as the collection does: regular, and none twice."""
    target_names: dict[str, str] = {}
    for table in tables:
        base_name = unique_name = to_adql_identifier(table.name, "table")
        number = 2
        while unique_name in target_names.values():
            unique_name = f"{base_name}_{number}"
            number = number + 1
        target_names[table.name] = unique_name
    return target_names


def _write_table(
    table: DescribedTable, target_names: Mapping[str, str], guesses: Mapping[str, Sequence[ColumnGuess]]
) -> list[str]:
    own_guesses = guesses[table.name]
    target_names_by_source = {item.source: item.column.name for item in own_guesses if item.source}
    lines = [f"  {format_yaml_scalar(target_names[table.name])}:"]
    if table.title:
        lines.append(f"    title: {format_yaml_scalar(table.title)}")
    if table.description:
        lines += [f"    {line}" for line in format_yaml_folded_text("description", table.description)]
    lines += [f"    # {format_yaml_comment(note)}" for note in table.notes]
    undescribed_count = sum(1 for item in own_guesses if not item.column.description)
    if undescribed_count > len(own_guesses) / 2:
        lines.append(
            f"    # {undescribed_count} of {len(own_guesses)} columns have no description, which readers look for first"
        )
    primary = [target_names_by_source[name] for name in table.primary if name in target_names_by_source]
    if primary and len(primary) == len(table.primary):
        lines.append(f"    primary: {format_yaml_flow_value(primary)}")
    keys, unresolved_keys = _write_foreign_keys(table, target_names, guesses)
    lines += [f"    # {format_yaml_comment(text)}" for text in unresolved_keys]
    if keys:
        lines += [
            "    keys:",
            *(f"      {format_yaml_scalar(name)}: {format_yaml_flow_value(key)}" for name, key in keys.items()),
        ]
    composite_indexes = [
        [target_names_by_source[name] for name in group]
        for group in table.indexes
        if len(group) > 1 and set(group) <= set(target_names_by_source)
    ]
    if composite_indexes:
        lines.append(f"    indexes: {format_yaml_flow_value(composite_indexes)}")
    single_indexed_columns = {group[0] for group in table.indexes if len(group) == 1}
    position_columns = find_sky_position_columns(own_guesses)
    if position_columns:
        lines.append(
            f"    position: [{format_yaml_scalar(position_columns[0])}, "
            f"{format_yaml_scalar(position_columns[1])}]  # guessed: degrees; searches by position use these "
            "columns"
        )
    elif position_columns := find_body_position_columns(own_guesses):
        lines.append(f"    # {format_yaml_comment(write_body_position_note(position_columns))}")
    lines.append("    source: " + format_yaml_flow_value(dict(table.source)))
    lines.append("    columns:")
    constants = [ColumnGuess(source="", column=_rename_constant_column(column)) for column, _ in table.constants]
    width = min(max(len(format_yaml_scalar(item.column.name)) for item in (*own_guesses, *constants)), 28)
    lines += [
        _write_column(item, width, is_indexed=item.source in single_indexed_columns)
        for item in (*own_guesses, *constants)
    ]
    mapped = [(item.column.name, item.expression) for item in own_guesses if item.expression]
    if mapped:
        lines.append("    map:  # source columns with other names")
        lines += [
            f"      {format_yaml_scalar(name)}:".ljust(width + 7) + " " + format_yaml_scalar(text)
            for name, text in mapped
        ]
    if table.constants:
        lines.append("    set:")
        lines += [
            f"      {format_yaml_scalar(to_adql_identifier(column.name))}: {format_yaml_scalar(value)}"
            for column, value in table.constants
        ]
    return lines


def _rename_constant_column(column: Column) -> Column:
    label = column.name if is_reserved_adql_word(column.name) else column.label
    return column.copy_with(name=to_adql_identifier(column.name), label=label)


def _write_column(guess: ColumnGuess, width: int, *, is_indexed: bool) -> str:
    column = guess.column
    attributes: dict[str, Any] = {
        "type": "string" if column.type.is_string and column.type.xtype is None else str(column.type)
    }
    attributes |= {
        key: value
        for key in ("label", "unit", "ucd", "utype", "description", "display")
        if (value := getattr(column, key))
    }
    attributes |= {key: True for key in ("required", "std") if getattr(column, key)}
    attributes |= {"indexed": True} if is_indexed or column.indexed else {}
    attributes |= {"rank": column.rank} if column.rank != 10 else {}
    line = f"      {format_yaml_scalar(column.name)}:".ljust(width + 7) + " " + format_yaml_flow_value(attributes)
    guess_note = write_guess_comment(guess)
    return line + (f"  # {format_yaml_comment(guess_note)}" if guess_note else "")


def _write_foreign_keys(
    table: DescribedTable, target_names: Mapping[str, str], guesses: Mapping[str, Sequence[ColumnGuess]]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Write foreign keys to tables of this collection, and note the others."""
    foreign_keys: dict[str, dict[str, Any]] = {}
    unresolved_keys: list[str] = []
    for name, key in table.keys.items():
        own_names = {item.source: item.column.name for item in guesses[table.name]}
        target_column_names = {item.source: item.column.name for item in guesses.get(key.target, ())}
        if (
            key.target in target_names
            and set(key.columns) <= set(own_names)
            and set(key.target_columns) <= set(target_column_names)
        ):
            foreign_keys[to_adql_identifier(name, "key")] = {
                "columns": [own_names[column] for column in key.columns],
                "target": target_names[key.target],
                "target_columns": [target_column_names[column] for column in key.target_columns],
            }
        else:
            unresolved_keys.append(
                f"{', '.join(key.columns)} refers to {', '.join(key.target_columns)} of {key.target}, which is "
                f"not described here"
            )
    return foreign_keys, unresolved_keys
