"""Read the columns of a descriptor, and check their names, types, units and UCDs."""

from __future__ import annotations

import re
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any

from hven.adql.reserved_words import RESERVED_WORDS
from hven.descriptor._column_expressions import TemplatePlaceholder, split_template
from hven.model import units
from hven.model.errors import suggest_spelling
from hven.model.literal import format_number
from hven.model.table import Column, TableConstant
from hven.model.types import FLOAT64, STRING, list_type_names, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.descriptor.written_yaml import LocatedYamlScalar

REGULAR_IDENTIFIER_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LINK_PLACEHOLDER_PATTERN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
MAX_NAME_CHARACTERS = 128


def check_column_name(
    name: LocatedYamlScalar, object_label: str, faults: FaultCollector, *, must_be_regular: bool = False
) -> bool:
    """Check a name that queries use; `must_be_regular` ones must not need quotes.

    Returns
    -------
    bool
        False after a fault.
    """
    text = str(name)
    is_clean = text == text.strip() and '"' not in text and text.isprintable()
    if not text or not is_clean or len(text) > MAX_NAME_CHARACTERS:
        faults.add_error(
            f"{text[:40]!r} cannot be the name of {object_label}",
            name.place,
            "begin with a letter, and use only letters, digits and _",
        )
        return False
    is_identifier = REGULAR_IDENTIFIER_PATTERN.fullmatch(text) is not None
    if is_identifier and text.upper() not in RESERVED_WORDS:
        return True
    if is_identifier:
        reason = f"{text.upper()} is a reserved word of ADQL"
        remedy = "choose another name"
    else:
        reason = f"{text!r} is not a plain name"
        remedy = "begin with a letter, and use only letters, digits and _"
    if must_be_regular:
        faults.add_error(f"{reason} and cannot be the name of {object_label}", name.place, remedy)
        return False
    message = f'{reason}, so queries must write "{text}" in double quotes'
    faults.add_warning(message, name.place, "choose another name so that queries need no quotes")
    return True


def build_columns(
    fields_by_name: Mapping[LocatedYamlScalar, LocatedKeyValues], key_path: str, faults: FaultCollector
) -> tuple[tuple[Column, ...], dict[str, frozenset[str]]]:
    """Build the columns, and list the attributes that the descriptor gives for each."""
    columns: list[Column] = []
    given_attributes: dict[str, frozenset[str]] = {}
    names_by_lower_case: dict[str, LocatedYamlScalar] = {}
    for name, fields in fields_by_name.items():
        if not check_column_name(name, "a column", faults):
            continue
        first_name = names_by_lower_case.setdefault(str(name).lower(), name)
        if first_name is not name:
            faults.add_error(
                f"{key_path}: columns {first_name} and {name} differ only in case",
                name.place,
                f"rename one of them; the first one is on line {first_name.place.line}",
            )
            continue
        column = _build_column(str(name), fields, f"{key_path}.{name}", faults)
        columns.append(column)
        given_attributes[column.name] = frozenset(fields.keys() - {"types", "optional"})
    return tuple(columns), given_attributes


def _build_column(name: str, fields: LocatedKeyValues, key_path: str, faults: FaultCollector) -> Column:
    attributes: dict[str, Any] = {}
    for key, value in fields.items():
        if key in {"type", "types", "optional"}:
            continue
        if isinstance(value, str):
            attributes[key] = str(value)
        else:
            attributes[key] = value
    column_type = FLOAT64
    if "type" in fields:
        type_text: LocatedYamlScalar = fields["type"]
        try:
            column_type = parse_type(type_text)
        except ValueError:
            faults.add_error(
                f"{key_path}: {str(type_text)!r} is not a known type", type_text.place, _suggest_type(type_text)
            )
            del fields["type"]
    if "unit" in fields:
        check_column_unit(fields["unit"], key_path, faults)
    if "ucd" in fields:
        check_column_ucd(fields["ucd"], key_path, faults)
    for key in ("minimum", "maximum"):
        if key in fields and "type" in fields and not column_type.is_numeric:
            faults.add_error(
                f"{key_path}: only numbers can have a {key}, but the type is {column_type}", fields.places[key]
            )
    low = fields.get("minimum")
    high = fields.get("maximum")
    if low is not None and high is not None and low > high:
        message = f"{key_path}: minimum {format_number(low)} is above maximum {format_number(high)}"
        faults.add_error(message, fields.places["minimum"])
    return Column(name=name, type=column_type, **attributes)


def _suggest_type(type_text: str) -> str:
    """Suggest the type whose name is nearest to a text, or list the commonest types."""
    word = re.match(r"[A-Za-z0-9]*", type_text)
    type_names = list(list_type_names())
    hint = suggest_spelling(word.group() if word else "", type_names)
    return hint or f"use one of {', '.join(type_names[:16])} ..."


def build_constant(name: str, fields: LocatedKeyValues, key_path: str, faults: FaultCollector) -> TableConstant:
    """Build a constant of the table: a column with one value for all rows, a text unless it has a type.

    Parameters
    ----------
    name
        Name of the constant.
    fields
        Keys and values that describe it.
    key_path
        Path of its key, for messages.
    faults
        Collects what is wrong.

    Returns
    -------
    constant
        The constant, with the attributes of a column.
    """
    value = None
    if "value" in fields:
        value = str(fields["value"])
    column_fields = {key: attribute for key, attribute in fields.items() if key != "value"}
    column = _build_column(name, column_fields, key_path, faults)  # type: ignore[arg-type]
    attributes = {field.name: getattr(column, field.name) for field in dataclass_fields(column)}
    attributes["value"] = value
    if "type" not in fields:
        attributes["type"] = STRING
    return TableConstant(**attributes)


def check_column_unit(unit: LocatedYamlScalar, key_path: str, faults: FaultCollector) -> None:
    """Refuse what is no unit, with the nearest one that is; warn if VOUnits spells it otherwise."""
    try:
        normalized_unit = units.canonicalize_unit(str(unit))
    except ValueError as error:
        faults.add_error(f"{key_path}: {error}", unit.place)
        return
    if normalized_unit != str(unit):
        message = f"{key_path}: in VOUnits, the unit {str(unit)!r} is written as {normalized_unit!r}"
        faults.add_warning(message, unit.place)


def check_column_ucd(ucd: LocatedYamlScalar, key_path: str, faults: FaultCollector) -> None:
    """Warn of words that are not in the UCD list, and of ones in the wrong place."""
    for problem in units.list_ucd_problems(str(ucd)):
        faults.add_warning(f"{key_path}: {problem}", ucd.place)


def check_column_references(
    fields_by_name: Mapping[LocatedYamlScalar, LocatedKeyValues],
    key_path: str,
    faults: FaultCollector,
    *,
    names: Iterable[str],
    frames: Iterable[str],
    enums: Iterable[str],
) -> None:
    """Check the frames and enums that columns refer to, and the columns in their link templates."""
    known_columns = list(names)
    known_names_by_key = {"frame": list(frames), "enum": list(enums)}
    for name, fields in fields_by_name.items():
        column_path = f"{key_path}.{name}"
        for key, known_names in known_names_by_key.items():
            if key not in fields or fields[key] in known_names:
                continue
            hint = suggest_spelling(fields[key], known_names)
            if not hint and known_names:
                hint = f"use one of {', '.join(known_names)}"
            elif not hint:
                hint = f"define the {key} under '{key}s'"
            faults.add_error(f"{column_path}: there is no {key} {str(fields[key])!r}", fields[key].place, hint)
        if "link" in fields:
            _check_link_template(fields["link"], f"{column_path}.link", known_columns, faults)


def _check_link_template(
    template: LocatedYamlScalar, key_path: str, known_columns: list[str], faults: FaultCollector
) -> None:
    for part in split_template(template, key_path, faults):
        if isinstance(part, TemplatePlaceholder) and part.expression_text not in known_columns:
            faults.add_error(
                f"{key_path}: there is no column {part.expression_text!r}",
                template.locate_character(part.offset),
                suggest_spelling(part.expression_text, known_columns),
            )


def rename_link_columns(template: str, target_names: Mapping[str, str]) -> tuple[str, str | None]:
    """Rename the columns of a link as the table does.

    Parameters
    ----------
    template
        The link, with names of source columns in braces.
    target_names
        Names of columns in the table, by their names in the source.

    Returns
    -------
    link, missing_column
        The link, and the first column that the table does not have; None: it has all.
    """
    source_names = [match[1] for match in _LINK_PLACEHOLDER_PATTERN.finditer(template) if match[1] is not None]
    missing_columns = [name for name in source_names if name not in target_names]

    def rename_placeholder(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        return f"{{{target_names.get(match[1], match[1])}}}"

    link = _LINK_PLACEHOLDER_PATTERN.sub(rename_placeholder, template)
    return link, next(iter(missing_columns), None)
