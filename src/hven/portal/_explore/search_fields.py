"""Fields of a form: what kind each column's is, and how the parts of one (from, to, unit, around) become the value of an address and back.

A form sends ``vmag=3&_to.vmag=6&_as.vmag=mmag``; the address of the search is ``vmag=3..6 mmag``. So a form without
scripts asks for the same things, and whoever writes a whole condition into the first part (``..6``, ``1,2``, ``!null``)
is understood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import units
from hven.model.errors import ParseError
from hven.model.table import is_time_column
from hven.portal._condition_values import ConditionValue, split_range
from hven.portal._explore.number_formatting import UnitScale, is_spectral

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column, Table

UPPER_END_PREFIX, UNIT_PREFIX, MARGIN_PREFIX = (
    "_to.",
    "_as.",
    "_pm.",
)  # parts of a column's field: its upper end, its unit, how long before and after
RADIUS_PARAMETER, RADIUS_UNIT_PARAMETER, CADENCE_COLUMN_PARAMETER = "_radius", "_radius_unit", "_each"
_PART_PREFIXES = (UPPER_END_PREFIX, UNIT_PREFIX, MARGIN_PREFIX)
_CONDITION_PATTERN = re.compile(r"[<>=!]|.*(\.\.|,|~|\"|\d\s*/\s*[-+.\d])|null$", re.IGNORECASE | re.DOTALL)
_NUMBER_PATTERN = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
DATE_PATTERN = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")  # a year, a month or a day
_QUANTITY_PATTERN = re.compile(rf"({_NUMBER_PATTERN})\s*([^\d\s.,<>=!~].*)?")
QUERY_UNIT_GROUPS = (
    ("m", "km", "AU", "pc", "kpc", "nm", "um", "mm", "cm", "Angstrom", "solRad"),
    ("deg", "arcmin", "arcsec", "mas", "rad"),
    ("s", "min", "h", "d", "yr"),
    ("Hz", "kHz", "MHz", "GHz"),
    ("kg", "g", "solMass", "t"),
    ("K", "mK"),
    ("Jy", "mJy", "uJy"),
    ("km/s", "m/s", "cm/s"),
    ("mag", "mmag"),
    ("Pa", "hPa", "bar", "mbar"),
    ("eV", "keV", "MeV", "J"),
    ("mas/yr", "arcsec/yr", "deg/yr"),
    ("T", "G", "nT"),
    ("W", "erg/s", "solLum"),
)
SPECTRAL_UNITS = ("Hz", "kHz", "MHz", "GHz", "um", "nm", "Angstrom", "mm", "cm-1", "eV", "keV")
MARGIN_UNITS = ("s", "min", "h", "d")
SEXAGESIMAL_UNITS = ("d:m:s", "h:m:s")
DISPLAY_UNIT_GROUPS = (  # what people choose among; the first one says what can be converted
    ("deg", "arcmin", "arcsec", "mas", "rad"),
    ("m", "mm", "cm", "km", "AU", "pc", "kpc", "solRad", "um", "nm", "Angstrom"),
    ("s", "ms", "min", "h", "d", "yr"),
    ("Hz", "kHz", "MHz", "GHz", "THz"),
    ("eV", "keV", "MeV", "J", "erg"),
    ("byte", "kbyte", "Mbyte", "Gbyte"),
    ("m/s", "km/s"),
    ("kg", "g", "solMass"),
    ("deg/s", "deg/d", "arcsec/h"),
    ("mas/yr", "arcsec/yr", "deg/yr"),
    ("Jy", "mJy", "W.m**-2.Hz**-1"),
    ("K", "mK"),
    ("T", "G", "nT"),
    ("Pa", "hPa", "kPa"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldParts:
    """What stands in a field: `low` alone if it is a whole condition."""

    low: str = ""
    high: str = ""
    unit: str = ""
    margin: str = ""


def classify_field(column: Column, table: Table) -> str:
    """Return what field a column has: ``time``, ``flag``, ``code``, ``range``, ``text``."""
    if is_time_column(column):
        return "time"
    if column.type.is_boolean:
        return "flag"
    if column.enum and column.enum in table.enums:
        return "code"
    if column.type.is_numeric and not column.type.is_array:
        return "range"
    return "text"


def list_query_units(unit: str | None) -> tuple[str, ...]:
    """Return the units that a number of this unit may be written in, its own first; nothing: there is no choice."""
    if not unit:
        return ()
    try:
        if units.is_convertible(unit, "Hz"):
            return tuple(dict.fromkeys([unit, *SPECTRAL_UNITS]))
        for group in QUERY_UNIT_GROUPS:
            if unit in group or units.is_convertible(unit, group[0]):
                unit_choices = tuple(
                    dict.fromkeys(
                        [unit, *(unit_choice for unit_choice in group if units.is_convertible(unit_choice, unit))]
                    )
                )
                if len(unit_choices) > 1:
                    return unit_choices
                return ()
    except ValueError:
        return ()
    return ()


def join_field_parts(pairs: Iterable[tuple[str, str]]) -> tuple[list[tuple[str, str]], bool]:
    """Join the parts of fields; return also whether there were any."""
    parameters = list(pairs)
    parts = {
        name: value.strip()
        for name, value in parameters
        if name.startswith(_PART_PREFIXES)
        or name in {RADIUS_PARAMETER, RADIUS_UNIT_PARAMETER, CADENCE_COLUMN_PARAMETER}
    }
    if not parts:
        return parameters, False
    joined_parameters: list[tuple[str, str]] = []
    for name, value in parameters:
        if name in parts:
            continue
        condition = value.strip()
        if name == "_near" and RADIUS_PARAMETER in parts and condition:
            if parts[RADIUS_PARAMETER]:
                condition = f"{condition},{parts[RADIUS_PARAMETER]} {parts.get(RADIUS_UNIT_PARAMETER, '')}".rstrip()
            else:
                condition = f"{condition},1"
        elif name == "_every" and condition and parts.get(CADENCE_COLUMN_PARAMETER):
            condition = f"{condition},{parts[CADENCE_COLUMN_PARAMETER]}"
        elif UPPER_END_PREFIX + name in parts:
            condition = write_condition(
                FieldParts(
                    low=condition,
                    high=parts[UPPER_END_PREFIX + name],
                    unit=parts.get(UNIT_PREFIX + name, ""),
                    margin=parts.get(MARGIN_PREFIX + name, ""),
                ),
                is_time=MARGIN_PREFIX + name in parts,
            )
        if condition:
            joined_parameters.append((name, condition))
    return joined_parameters, True


def write_condition(parts: FieldParts, *, is_time: bool = False) -> str:
    """Write the parts of a field as one condition; of a time, a day, month or year alone is all of it."""
    low = parts.low
    high = parts.high
    # that of a time is of what is around it: 2012..2013 are years
    if is_time and not parts.margin:
        unit = ""
    else:
        unit = parts.unit
    if is_time and not high and not parts.margin and DATE_PATTERN.fullmatch(low):
        return low
    if low and (_CONDITION_PATTERN.match(low) or not (high or any(letter.isdigit() for letter in low))):
        return low
    if parts.margin and low:
        return f"{low}~{parts.margin} {unit or 'min'}"
    plain = re.fullmatch(rf"({_NUMBER_PATTERN})?", low) and re.fullmatch(rf"({_NUMBER_PATTERN})?", high)
    if unit and plain:
        end = f" {unit}"
    else:
        end = ""
    if low and low == high:
        return f"{low}{end}"
    if low and high:
        return f"{low}..{high}{end}"
    if low:
        return f"{low}{end}.."
    if high:
        return f"..{high}{end}"
    return ""


def split_condition(values: Sequence[str], *, is_time: bool = False) -> FieldParts:
    """Return the parts of a condition, as a form shows them."""
    text = ",".join(values).strip()
    if not text:
        return FieldParts()
    if is_time and text.count("~") == 1:
        low, _, context = text.partition("~")
        margin_match = _QUANTITY_PATTERN.fullmatch(context.strip())
        if margin_match is not None and (margin_match[2] or "") in MARGIN_UNITS:
            return FieldParts(low=low.strip(), margin=margin_match[1], unit=margin_match[2])
    if (
        len(values) != 1
        or "," in text
        or text[0] in "<>=!"
        or text.lower() == "null"
        or '"' in text
        or "~" in text
        or text.count("..") > 1
    ):
        return FieldParts(low=text)
    try:
        ends = split_range(ConditionValue(text, 0), "=", text)
    except ParseError:  # a range without ends
        return FieldParts(low=text)
    low, high = ("" if quantity_match is None else quantity_match.text.strip() for quantity_match in ends)
    if is_time:
        return _split_time_condition(text, low, high)
    quantities = [_QUANTITY_PATTERN.fullmatch(part) for part in (low, high) if part]
    if not quantities or any(quantity_match is None for quantity_match in quantities):
        return FieldParts(low=text)
    unit_names = {quantity_match[2] or "" for quantity_match in quantities if quantity_match is not None} - {""}
    if len(unit_names) > 1:
        return FieldParts(low=text)
    first = _QUANTITY_PATTERN.fullmatch(low)
    last = _QUANTITY_PATTERN.fullmatch(high)
    if first is not None and first[2] and last is not None and not last[2]:
        return FieldParts(low=text)  # 10 km..20: the second number is in the column's own unit
    unit = next(iter(unit_names), "")
    return FieldParts(
        low=first[1] if first is not None else "",
        high=last[1] if last is not None else "",
        unit=unit,
    )


def _split_time_condition(text: str, low: str, high: str) -> FieldParts:
    """Return a condition of a time as its two fields show it.

    A date alone is all of it, so an open range that begins with one stays as it is written.
    """
    if DATE_PATTERN.fullmatch(low) and not high:
        return FieldParts(low=text)
    return FieldParts(low=low, high="" if low == high and DATE_PATTERN.fullmatch(low) else high)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """A field of a form: a column, or a pair ``x_min``, ``x_max`` that is asked for as ``x``.

    `column` is the first of them.
    """

    name: str
    column: Column
    kind: str
    units: tuple[str, ...] = ()
    is_pair: bool = False


def build_form_fields(table: Table, asked_names: Iterable[str] = ()) -> list[FormField]:
    """Return the fields of a table's form.

    Columns of a pair have one of their own only if they are among `asked_names`.
    """
    columns = [column for column in table.columns if not column.hidden]
    asked_lower = {name.lower() for name in asked_names}
    form_fields: list[FormField] = []
    pairs: dict[str, FormField] = {}  # by each of the two names: the one that comes first stands for both
    for stem, low, high in find_range_pairs(columns):
        kind = classify_field(low, table)
        pair_field = FormField(name=stem, column=low, kind=kind, units=_list_field_units(low), is_pair=True)
        pairs[low.name.lower()] = pairs[high.name.lower()] = pair_field
    for column in columns:
        name = column.name.lower()
        if name in pairs and pairs[name] not in form_fields:
            form_fields.append(pairs[name])
        if name not in pairs or name in asked_lower:
            form_fields.append(
                FormField(
                    name=column.name, column=column, kind=classify_field(column, table), units=_list_field_units(column)
                )
            )
    return form_fields


def list_initial_fields(table: Table) -> tuple[str, ...]:
    """Return the fields that a form begins with.

    Those that the descriptor says, else those that people ask of such a table, then columns of its own.
    """
    if table.form:
        return table.form
    column_names = {column.name.lower() for column in table.columns if not column.hidden}
    begin = ("time", "target_name", "c1", "c2", "solar_longitude") if "granule_uid" in column_names else ()
    return begin or (("t", "target_name", "em", "dataproduct_type") if "obs_publisher_did" in column_names else ())


def find_range_pairs(columns: Sequence[Column]) -> list[tuple[str, Column, Column]]:
    """Return the pairs ``x_min``, ``x_max`` of columns, each as ``x`` and the two."""
    columns_by_name = {column.name.lower(): column for column in columns}
    range_pairs = []
    for column in columns:
        name = column.name.lower()
        for ending, other in (("_min", "_max"), ("min", "max")):
            stem = name.removesuffix(ending)
            last = columns_by_name.get(stem + other)
            if (
                name.endswith(ending)
                and stem
                and stem not in columns_by_name
                and last is not None
                and last.type.is_numeric == column.type.is_numeric
                and _is_ordered(column)
            ):
                range_pairs.append((stem, column, last))
                break
    return range_pairs


def _is_ordered(column: Column) -> bool:
    return (column.type.is_numeric or column.type.is_timestamp) and not column.type.is_array


def _list_field_units(column: Column) -> tuple[str, ...]:
    if column.type.is_numeric and not is_time_column(column):
        return list_query_units(column.unit)
    return ()


def list_display_units(column: Column) -> tuple[str, ...]:
    """Return the units that a column can be read in, its own first; none but that one: an empty tuple."""
    stored_unit = column.unit or ""
    if not stored_unit or not _is_measured(column) or is_time_column(column):
        return ()
    unit_family: tuple[str, ...] = next(
        (
            family
            for family in DISPLAY_UNIT_GROUPS
            if stored_unit in family or units.is_convertible(stored_unit, family[0])
        ),
        (),
    )
    if is_spectral(column):
        unit_family = tuple(
            dict.fromkeys(
                [*unit_family[: len(unit_family) if stored_unit in DISPLAY_UNIT_GROUPS[3] else 0], *SPECTRAL_UNITS]
            )
        )
    angles = (SEXAGESIMAL_UNITS[_is_right_ascension(column)],) if stored_unit == "deg" and _is_position(column) else ()
    other_units = (*angles, *(unit for unit in unit_family if unit != stored_unit))
    if other_units:
        return (stored_unit, *other_units)
    return ()


def choose_scale(column: Column, unit: str) -> UnitScale | None:
    """Return the unit that a reader chose; None: it does not fit the column."""
    if not _is_measured(column) or is_time_column(column):
        return None
    if unit in SEXAGESIMAL_UNITS:
        if column.unit == "deg":
            return UnitScale(unit=unit, is_sexagesimal=True)
        return None
    try:
        checked_unit = units.validate_unit(unit)
        stored_unit = column.unit or ""
        if is_spectral(column) and not units.is_convertible(stored_unit, checked_unit):
            factor, inverse = units.compute_spectral_conversion(stored_unit, checked_unit)
            return UnitScale(unit=checked_unit, factor=factor, is_inverse=inverse)
        return UnitScale(unit=checked_unit, factor=units.compute_factor(stored_unit, checked_unit))
    except ValueError:
        return None


def _is_measured(column: Column) -> bool:
    return column.type.is_numeric and not column.type.is_array and not column.enum


def _is_position(column: Column) -> bool:
    return (column.ucd or "").lower().startswith("pos.")


def _is_right_ascension(column: Column) -> bool:
    return (column.ucd or "").lower().startswith("pos.eq.ra")
