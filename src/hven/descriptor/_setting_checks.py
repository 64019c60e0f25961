"""Read ``set``, ``text``, ``map`` and ``lookup`` of a table, and check them as far as this needs no data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hven.descriptor._column_expressions import (
    TemplatePlaceholder,
    iterate_column_references,
    parse_placeholder,
    parse_written_expression,
    split_template,
)
from hven.descriptor._constants import build_constant_literal
from hven.descriptor._keys import ASSIGNMENT_KEYS
from hven.descriptor._merging import list_optional_columns
from hven.descriptor._row_links import SITE_KEYS
from hven.descriptor.written_yaml import LocatedYamlList, LocatedYamlMap, LocatedYamlScalar
from hven.model.errors import suggest_spelling
from hven.model.resource import ColumnMapping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._collection_context import InheritedCollectionKeys
    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.model.table import Column


def read_column_settings(key_path: str, fields: LocatedKeyValues, faults: FaultCollector) -> tuple[ColumnMapping, ...]:
    """Collect set, text, map and lookup; report a target that two of them set."""
    settings_by_column: dict[str, ColumnMapping] = {}
    for setting_kind in ASSIGNMENT_KEYS:
        for target, value in fields.get(setting_kind, {}).items():
            column_name = str(target)
            earlier_setting = settings_by_column.get(column_name)
            if earlier_setting is not None:
                first_line = f"line {earlier_setting.place.line}"
                faults.add_error(
                    f"{key_path}: {target} is set twice, under '{earlier_setting.how}' and under '{setting_kind}'",
                    target.place,
                    f"remove one of them; the first one is on {first_line}",
                )
                continue
            setting = ColumnMapping(column=column_name, how=setting_kind, value=value, place=target.place)
            settings_by_column[column_name] = setting
    return tuple(settings_by_column.values())


def check_setting_targets(
    key_path: str,
    settings: Sequence[ColumnMapping],
    column_names: list[str],
    faults: FaultCollector,
    *,
    standard: str | None,
) -> None:
    """Report settings of columns that the table does not have."""
    for setting in settings:
        if setting.column in column_names:
            continue
        if standard and setting.column in list_optional_columns(standard):
            hint = f"add the column to 'optional', because the standard {standard} defines it"
        else:
            hint = suggest_spelling(setting.column, column_names) or "describe it under 'columns'"
        message = f"{key_path}.{setting.how}: the table has no column {setting.column!r}"
        faults.add_error(message, setting.place, hint)


def check_setting_values(
    key_path: str,
    settings: Sequence[ColumnMapping],
    typed_columns: Mapping[str, Column],
    collection_context: InheritedCollectionKeys,
    faults: FaultCollector,
) -> None:
    """Check constants, templates, expressions and lookups."""
    for setting in settings:
        setting_path = f"{key_path}.{setting.how}.{setting.column}"
        value = setting.value
        if setting.how == "set":
            if setting.column in typed_columns:
                build_constant_literal(value, typed_columns[setting.column], setting_path, faults)
        elif setting.how == "text":
            check_template(value, setting_path, None, faults)
        elif setting.how == "map":
            check_expression(value, setting_path, None, faults)
        else:
            _check_lookup(value, setting_path, collection_context, faults)


def _check_lookup(
    value: LocatedKeyValues, key_path: str, collection_context: InheritedCollectionKeys, faults: FaultCollector
) -> None:
    from_expressions = value.get("from", ())
    for from_expression in from_expressions:
        check_expression(from_expression, f"{key_path}.from", None, faults)
    _check_lookup_keys(value, key_path, faults)
    if "default" in value and "missing" in value:
        faults.add_error(
            f"{key_path}: 'default' and 'missing' both say what to do if a key is not found",
            value.places["default"],
            "remove one of them",
        )
    if ("table" in value) == ("values" in value):
        faults.add_error(f"{key_path} needs either 'table' or 'values'", value.place)
    for key in ("key", "value", "low", "high"):
        if key in value and "values" in value:
            faults.add_error(f"{key_path}: {key!r} can be used only with 'table', not with 'values'", value.places[key])
    table = value.get("table")
    if isinstance(table, LocatedYamlScalar):
        _record_lookup_file_checksum(table, key_path, collection_context, faults)
    elif isinstance(table, LocatedYamlMap):
        _record_lookup_source_checksums(table, collection_context)


def _check_lookup_keys(value: LocatedKeyValues, key_path: str, faults: FaultCollector) -> None:
    """Report keys of a lookup that do not fit its ``from``."""
    expression_count = len(value.get("from", ()))
    key_count = len(value.get("key", ()))
    if expression_count > 1 and key_count != expression_count:
        faults.add_error(
            f"{key_path}: 'from' has {expression_count} expressions, so 'key' must have {expression_count} columns, "
            f"not {key_count}",
            value.place,
            "list one column under 'key' for each expression under 'from'",
        )
    elif expression_count == 1 and key_count > 1:
        faults.add_error(
            f"{key_path}: 'key' has {key_count} columns, but 'from' has only one expression",
            value.places["key"],
            "list one column under 'key' for each expression under 'from'",
        )
    if "low" in value and ("key" in value or expression_count > 1):
        message = f"{key_path}: 'low' replaces 'key' and needs exactly one expression under 'from'"
        faults.add_error(message, value.places["low"])
    if "high" in value and "low" not in value:
        message = f"{key_path}: 'high' needs 'low'"
        faults.add_error(
            message,
            value.places["high"],
            "add `low:` with the name of the column that contains the start of each range",
        )


def _record_lookup_file_checksum(
    table: LocatedYamlScalar, key_path: str, collection_context: InheritedCollectionKeys, faults: FaultCollector
) -> None:
    """Record the SHA-256 of the file of a lookup, or report that there is no such file."""
    path = collection_context.directory / str(table)
    contents = collection_context.contents
    if contents.is_file(path):
        collection_context.hashes[str(table)] = contents.compute_sha256(path)
        return
    sibling_files: list[str] = []
    if os.path.isdir(path.parent):  # noqa: PTH112 - False, too, for a name that no file can have
        sibling_files = [item.name for item in path.parent.iterdir()]
    faults.add_error(
        f"{key_path}.table: there is no file {table} beside the descriptor",
        table.place,
        suggest_spelling(table, sibling_files),
    )


def _record_lookup_source_checksums(table: LocatedYamlMap, collection_context: InheritedCollectionKeys) -> None:
    """Record the SHA-256 of the files that the source of a lookup names, so that a sync notices their changes."""
    contents = collection_context.contents
    for key, value in table.items():
        names = value if isinstance(value, LocatedYamlList) else [value]
        for name in names if key in {"file", "files"} else ():
            path = collection_context.directory / str(name)
            if isinstance(name, LocatedYamlScalar) and contents.is_file(path):
                collection_context.hashes[str(name)] = contents.compute_sha256(path)


def check_expression(
    value: LocatedYamlScalar,
    key_path: str,
    target_names: list[str] | None,
    faults: FaultCollector,
    *,
    is_condition: bool = False,
    allow_target: bool = True,
) -> None:
    """Parse an expression and check its references to the table itself.

    The names of the source are checked later, when the source is open.
    """
    tree = parse_written_expression(value, key_path, faults, is_condition=is_condition)
    if tree is None:
        return
    for prefix, name, node in iterate_column_references(tree):
        if prefix != "target":
            continue
        place = value.locate_character(node.text_offset)
        if not allow_target:
            message = f"{key_path}: target.{name} is not yet known here"
            faults.add_error(message, place, "use the source's columns in this condition")
        elif target_names is not None and name not in target_names:
            message = f"{key_path}: the table has no column {name!r}"
            faults.add_error(message, place, suggest_spelling(name, target_names))


def check_template(
    template: LocatedYamlScalar, key_path: str, target_names: list[str] | None, faults: FaultCollector
) -> None:
    """Check the braces of a template, and each expression in them.

    Parameters
    ----------
    template
        Template as written.
    key_path
        Path of the key, for messages.
    target_names
        Names of the table's columns; None: they are not known yet.
    faults
        Collects the faults.
    """
    for part in split_template(template, key_path, faults):
        if not isinstance(part, TemplatePlaceholder):
            continue
        if part.name is None:
            parse_placeholder(template, part, key_path, faults)
            continue
        place = template.locate_character(part.offset)
        prefix, _, key_name = part.expression_text.partition(".")
        if "." not in part.expression_text:
            continue
        if prefix == "target" and target_names is not None and key_name not in target_names:
            message = f"{key_path}: the table has no column {key_name!r}"
            faults.add_error(message, place, suggest_spelling(key_name, target_names))
        elif prefix == "site" and key_name not in SITE_KEYS:
            site_names = ", ".join(f"site.{key}" for key in SITE_KEYS)
            faults.add_error(f"{key_path}: there is no '{part.expression_text}'", place, f"use one of {site_names}")
