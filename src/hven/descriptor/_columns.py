"""Columns of a descriptor: names, types, units, UCDs checked; what was said and what is left to the source."""

from __future__ import annotations

import re
from dataclasses import fields as attributes
from typing import TYPE_CHECKING, Any

from hven.adql.reserved import RESERVED
from hven.descriptor._column_expressions import Hole, holes
from hven.model import units
from hven.model.errors import nearest
from hven.model.literal import figure
from hven.model.table import Column, Constant
from hven.model.types import FLOAT64, STRING, parse_type, type_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.descriptor.value_schema import Faults, Fields
    from hven.descriptor.written import Written

REGULAR = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
LONGEST = 128


def check_name(name: Written, what: str, faults: Faults, *, plain: bool = False) -> bool:
    """Check a name that queries use; `plain` ones must not need quotes.

    Returns
    -------
    bool
        False after a fault.
    """
    text = str(name)
    if not text or text != text.strip() or '"' in text or not text.isprintable() or len(text) > LONGEST:
        faults.error(
            f"{text[:40]!r} cannot be the name of {what}", name.place, "begin with a letter, then letters, digits and _"
        )
        return False
    if REGULAR.fullmatch(text) and text.upper() not in RESERVED:
        return True
    reserved = REGULAR.fullmatch(text) is not None
    why = f"{text.upper()} is a reserved word of ADQL" if reserved else f"{text!r} is no plain name"
    if plain:
        remedy = "choose another name" if reserved else "begin with a letter, then letters, digits and _"
        faults.error(f"{why}; it cannot be the name of {what}", name.place, remedy)
        return False
    faults.warning(
        f'{why}: queries must write "{text}" in double quotes', name.place, "another name is easier for readers"
    )
    return True


def columns(
    read: Mapping[Written, Fields], what: str, faults: Faults
) -> tuple[tuple[Column, ...], dict[str, frozenset[str]]]:
    """Build the columns, and say which attributes of each were given."""
    made: list[Column] = []
    given: dict[str, frozenset[str]] = {}
    seen: dict[str, Written] = {}
    for name, fields in read.items():
        if not check_name(name, "a column", faults):
            continue
        if str(name).lower() in seen:
            first = seen[str(name).lower()]
            faults.error(
                f"{what}: columns {first} and {name} differ only in case",
                name.place,
                f"the first one is in line {first.place.line}",
            )
            continue
        seen[str(name).lower()] = name
        column = _column(str(name), fields, f"{what}.{name}", faults)
        made.append(column)
        given[column.name] = frozenset(key for key in fields if key not in {"types", "optional"})
    return tuple(made), given


def _column(name: str, fields: Fields, what: str, faults: Faults) -> Column:
    words: dict[str, Any] = {
        key: str(value) if isinstance(value, str) else value
        for key, value in fields.items()
        if key not in {"type", "types", "optional"}
    }
    kind = FLOAT64
    if "type" in fields:
        try:
            kind = parse_type(fields["type"])
        except ValueError:
            word = re.match(r"[A-Za-z0-9]*", fields["type"])
            hint = nearest(word.group() if word else "", type_names())
            faults.error(
                f"{what}: there is no type {str(fields['type'])!r}",
                fields["type"].place,
                hint or f"known: {', '.join(list(type_names())[:16])} ...",
            )
            del fields["type"]
    if "unit" in fields:
        check_unit(fields["unit"], what, faults)
    if "ucd" in fields:
        check_ucd(fields["ucd"], what, faults)
    for key in ("minimum", "maximum"):
        if key in fields and "type" in fields and not kind.is_numeric:
            faults.error(f"{what}: only numbers have a {key}, not {kind}", fields.places[key])
    low, high = fields.get("minimum"), fields.get("maximum")
    if low is not None and high is not None and low > high:
        faults.error(f"{what}: minimum {figure(low)} is above maximum {figure(high)}", fields.places["minimum"])
    return Column(name=name, type=kind, **words)


def param(name: str, fields: Fields, what: str, faults: Faults) -> Constant:
    """Build what holds for all rows; without a type it is text."""
    value = str(fields["value"]) if "value" in fields else None
    made = _column(name, {key: item for key, item in fields.items() if key != "value"}, what, faults)  # type: ignore[arg-type]
    said = {item.name: getattr(made, item.name) for item in attributes(made)}
    return Constant(**said | {"type": made.type if "type" in fields else STRING, "value": value})


def check_unit(unit: Written, what: str, faults: Faults) -> None:
    """Refuse what is no unit, with the nearest one that is; warn if VOUnits spells it otherwise."""
    try:
        right = units.check(str(unit))
    except ValueError as error:
        faults.error(f"{what}: {error}", unit.place)
        return
    if right != str(unit):
        faults.warning(f"{what}: VOUnits writes the unit {str(unit)!r} as {right!r}", unit.place)


def check_ucd(ucd: Written, what: str, faults: Faults) -> None:
    """Warn of words that are not in the UCD list, and of ones in the wrong place."""
    for found in units.check_ucd(str(ucd)):
        faults.warning(f"{what}: {found}", ucd.place)


def check_references(
    fields_by_name: Mapping[Written, Fields],
    names: Iterable[str],
    frames: Iterable[str],
    enums: Iterable[str],
    what: str,
    faults: Faults,
) -> None:
    """Check what columns refer to: frames, enums, and the columns in their link templates."""
    known, known_frames, known_enums = list(names), list(frames), list(enums)
    for name, fields in fields_by_name.items():
        for key, choices in (("frame", known_frames), ("enum", known_enums)):
            if key in fields and fields[key] not in choices:
                hint = nearest(fields[key], choices) or (
                    f"known: {', '.join(choices)}" if choices else f"there are no {key}s"
                )
                faults.error(f"{what}.{name}: no {key} is called {str(fields[key])!r}", fields[key].place, hint)
        if "link" in fields:
            for part in holes(fields["link"], f"{what}.{name}.link", faults):
                if isinstance(part, Hole) and part.text not in known:
                    faults.error(
                        f"{what}.{name}.link: no column {part.text!r}",
                        fields["link"].at(part.offset),
                        nearest(part.text, known),
                    )
