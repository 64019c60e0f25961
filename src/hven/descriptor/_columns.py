"""Columns of a descriptor: names, types, units, UCDs checked; what was said and what is left to the source."""

from __future__ import annotations

import re
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any

from hven.adql.reserved_words import RESERVED_WORDS
from hven.descriptor._column_expressions import TemplatePlaceholder, split_template
from hven.model import units
from hven.model.errors import suggest_spelling
from hven.model.literal import format_number
from hven.model.table import Column, Constant
from hven.model.types import FLOAT64, STRING, list_type_names, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.descriptor.value_schema import FaultCollector, KeyValues
    from hven.descriptor.written_yaml import WrittenScalar

REGULAR_IDENTIFIER_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
MAX_NAME_CHARACTERS = 128


def check_column_name(
    name: WrittenScalar, object_label: str, faults: FaultCollector, *, must_be_regular: bool = False
) -> bool:
    """Check a name that queries use; `must_be_regular` ones must not need quotes.

    Returns
    -------
    bool
        False after a fault.
    """
    text = str(name)
    if not text or text != text.strip() or '"' in text or not text.isprintable() or len(text) > MAX_NAME_CHARACTERS:
        faults.add_error(
            f"{text[:40]!r} cannot be the name of {object_label}",
            name.place,
            "begin with a letter, then letters, digits and _",
        )
        return False
    if REGULAR_IDENTIFIER_PATTERN.fullmatch(text) and text.upper() not in RESERVED_WORDS:
        return True
    reserved = REGULAR_IDENTIFIER_PATTERN.fullmatch(text) is not None
    if reserved:
        why = f"{text.upper()} is a reserved word of ADQL"
    else:
        why = f"{text!r} is no plain name"
    if must_be_regular:
        remedy = "choose another name" if reserved else "begin with a letter, then letters, digits and _"
        faults.add_error(f"{why}; it cannot be the name of {object_label}", name.place, remedy)
        return False
    faults.add_warning(
        f'{why}: queries must write "{text}" in double quotes', name.place, "another name is easier for readers"
    )
    return True


def build_columns(
    fields_by_name: Mapping[WrittenScalar, KeyValues], key_path: str, faults: FaultCollector
) -> tuple[tuple[Column, ...], dict[str, frozenset[str]]]:
    """Build the columns, and say which attributes of each were given."""
    columns: list[Column] = []
    given_attributes: dict[str, frozenset[str]] = {}
    names_by_lower_case: dict[str, WrittenScalar] = {}
    for name, fields in fields_by_name.items():
        if not check_column_name(name, "a column", faults):
            continue
        if str(name).lower() in names_by_lower_case:
            first = names_by_lower_case[str(name).lower()]
            faults.add_error(
                f"{key_path}: columns {first} and {name} differ only in case",
                name.place,
                f"the first one is in line {first.place.line}",
            )
            continue
        names_by_lower_case[str(name).lower()] = name
        column = _build_column(str(name), fields, f"{key_path}.{name}", faults)
        columns.append(column)
        given_attributes[column.name] = frozenset(key for key in fields if key not in {"types", "optional"})
    return tuple(columns), given_attributes


def _build_column(name: str, fields: KeyValues, key_path: str, faults: FaultCollector) -> Column:
    attributes: dict[str, Any] = {
        key: str(value) if isinstance(value, str) else value
        for key, value in fields.items()
        if key not in {"type", "types", "optional"}
    }
    column_type = FLOAT64
    if "type" in fields:
        try:
            column_type = parse_type(fields["type"])
        except ValueError:
            word = re.match(r"[A-Za-z0-9]*", fields["type"])
            hint = suggest_spelling(word.group() if word else "", list_type_names())
            faults.add_error(
                f"{key_path}: there is no type {str(fields['type'])!r}",
                fields["type"].place,
                hint or f"known: {', '.join(list(list_type_names())[:16])} ...",
            )
            del fields["type"]
    if "unit" in fields:
        check_column_unit(fields["unit"], key_path, faults)
    if "ucd" in fields:
        check_column_ucd(fields["ucd"], key_path, faults)
    for key in ("minimum", "maximum"):
        if key in fields and "type" in fields and not column_type.is_numeric:
            faults.add_error(f"{key_path}: only numbers have a {key}, not {column_type}", fields.places[key])
    low = fields.get("minimum")
    high = fields.get("maximum")
    if low is not None and high is not None and low > high:
        faults.add_error(
            f"{key_path}: minimum {format_number(low)} is above maximum {format_number(high)}", fields.places["minimum"]
        )
    return Column(name=name, type=column_type, **attributes)


def build_constant(name: str, fields: KeyValues, key_path: str, faults: FaultCollector) -> Constant:
    """Build what holds for all rows; without a type it is text."""
    if "value" in fields:
        value = str(fields["value"])
    else:
        value = None
    column = _build_column(name, {key: item for key, item in fields.items() if key != "value"}, key_path, faults)  # type: ignore[arg-type]
    column_attributes = {item.name: getattr(column, item.name) for item in dataclass_fields(column)}
    return Constant(**column_attributes | {"type": column.type if "type" in fields else STRING, "value": value})


def check_column_unit(unit: WrittenScalar, key_path: str, faults: FaultCollector) -> None:
    """Refuse what is no unit, with the nearest one that is; warn if VOUnits spells it otherwise."""
    try:
        normalized_unit = units.validate_unit(str(unit))
    except ValueError as error:
        faults.add_error(f"{key_path}: {error}", unit.place)
        return
    if normalized_unit != str(unit):
        faults.add_warning(f"{key_path}: VOUnits writes the unit {str(unit)!r} as {normalized_unit!r}", unit.place)


def check_column_ucd(ucd: WrittenScalar, key_path: str, faults: FaultCollector) -> None:
    """Warn of words that are not in the UCD list, and of ones in the wrong place."""
    for problem in units.check_ucd(str(ucd)):
        faults.add_warning(f"{key_path}: {problem}", ucd.place)


def check_column_references(
    fields_by_name: Mapping[WrittenScalar, KeyValues],
    names: Iterable[str],
    frames: Iterable[str],
    enums: Iterable[str],
    key_path: str,
    faults: FaultCollector,
) -> None:
    """Check what columns refer to: frames, enums, and the columns in their link templates."""
    known_columns = list(names)
    known_frames = list(frames)
    known_enums = list(enums)
    for name, fields in fields_by_name.items():
        for key, choices in (("frame", known_frames), ("enum", known_enums)):
            if key in fields and fields[key] not in choices:
                hint = suggest_spelling(fields[key], choices) or (
                    f"known: {', '.join(choices)}" if choices else f"there are no {key}s"
                )
                faults.add_error(f"{key_path}.{name}: no {key} is called {str(fields[key])!r}", fields[key].place, hint)
        if "link" in fields:
            for part in split_template(fields["link"], f"{key_path}.{name}.link", faults):
                if isinstance(part, TemplatePlaceholder) and part.expression_text not in known_columns:
                    faults.add_error(
                        f"{key_path}.{name}.link: no column {part.expression_text!r}",
                        fields["link"].locate_character(part.offset),
                        suggest_spelling(part.expression_text, known_columns),
                    )
