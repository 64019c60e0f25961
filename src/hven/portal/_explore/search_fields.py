"""Fields of a search form: the kind of each column's field, and its parts (from, to, unit, margin).

A form sends ``vmag=3&_to.vmag=6&_as.vmag=mmag``; the address of the search is ``vmag=3..6 mmag``. A form works without
scripts, and the first part may also contain a whole condition (``..6``, ``1,2``, ``!null``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import units
from hven.model.errors import ParseError
from hven.model.table import is_time_column
from hven.portal._condition_values import ConditionValue, split_condition_range
from hven.portal._explore.number_formatting import UnitScale, is_spectral

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column, Table

# prefixes of the parts of a column's field: its upper end, its unit, the margin before and after a time
UPPER_END_PREFIX, UNIT_PREFIX, MARGIN_PREFIX = (
    "_to.",
    "_as.",
    "_pm.",
)
RADIUS_PARAMETER, RADIUS_UNIT_PARAMETER, CADENCE_COLUMN_PARAMETER = "_radius", "_radius_unit", "_each"
_PART_PREFIXES = (UPPER_END_PREFIX, UNIT_PREFIX, MARGIN_PREFIX)
_CONDITION_PATTERN = re.compile(r"[<>=!]|.*(\.\.|,|~|\"|\d\s*/\s*[-+.\d])|null$", re.IGNORECASE | re.DOTALL)
_NUMBER_PATTERN = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
DATE_PATTERN = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")  # a year, a month or a day
_QUANTITY_PATTERN = re.compile(rf"([-+]?\d+:[\d:.]+|{_NUMBER_PATTERN})\s*([^\d\s.,<>=!~:].*)?")
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
DISPLAY_UNIT_GROUPS = (  # units to choose from; the first one decides what can be converted
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
class FormFieldParts:
    """The parts of a field; `low` alone may be a whole condition."""

    low: str = ""
    high: str = ""
    unit: str = ""
    margin: str = ""


def classify_form_field(column: Column, table: Table) -> str:
    """Return the kind of a column's field: ``time``, ``flag``, ``code``, ``range`` or ``text``."""
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
    """Return the units for numbers of a column with this unit, its own first; empty if there is only one."""
    if not unit:
        return ()
    try:
        if units.are_units_convertible(unit, "Hz"):
            return tuple(dict.fromkeys([unit, *SPECTRAL_UNITS]))
        for group in QUERY_UNIT_GROUPS:
            if unit in group or units.are_units_convertible(unit, group[0]):
                other_units = [candidate for candidate in group if units.are_units_convertible(candidate, unit)]
                unit_choices = tuple(dict.fromkeys([unit, *other_units]))
                if len(unit_choices) > 1:
                    return unit_choices
                return ()
    except ValueError:
        pass
    return ()


def join_form_field_parameters(pairs: Iterable[tuple[str, str]]) -> tuple[list[tuple[str, str]], bool]:
    """Join the parts of fields; return also whether there were any.

    Parameters
    ----------
    pairs
        Parameters of the address.

    Returns
    -------
    parameters, has_parts
        The parameters with whole conditions, and whether there were parts.
    """
    parameters = list(pairs)
    own_parameters = {RADIUS_PARAMETER, RADIUS_UNIT_PARAMETER, CADENCE_COLUMN_PARAMETER}
    parts = {
        name: value.strip() for name, value in parameters if name.startswith(_PART_PREFIXES) or name in own_parameters
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
                unit = parts.get(RADIUS_UNIT_PARAMETER, "")
                condition = f"{condition},{parts[RADIUS_PARAMETER]} {unit}".rstrip()
            else:
                condition = f"{condition},1"
        elif name == "_every" and condition and parts.get(CADENCE_COLUMN_PARAMETER):
            condition = f"{condition},{parts[CADENCE_COLUMN_PARAMETER]}"
        elif UPPER_END_PREFIX + name in parts:
            field_parts = FormFieldParts(
                low=condition,
                high=parts[UPPER_END_PREFIX + name],
                unit=parts.get(UNIT_PREFIX + name, ""),
                margin=parts.get(MARGIN_PREFIX + name, ""),
            )
            condition = write_field_condition(field_parts, is_time=MARGIN_PREFIX + name in parts)
        if condition:
            joined_parameters.append((name, condition))
    return joined_parameters, True


def write_field_condition(parts: FormFieldParts, *, is_time: bool = False) -> str:
    """Write the parts of a field as one condition; a day, month or year alone stands for the whole of it."""
    low = parts.low
    high = parts.high
    if is_time and not high and not parts.margin and DATE_PATTERN.fullmatch(low):
        return low
    has_digit = any(letter.isdigit() for letter in low)
    if low and (_CONDITION_PATTERN.match(low) or not (high or has_digit)):
        return low
    # the unit of a time belongs to its margin: 2012..2013 are years
    if is_time and not parts.margin:
        unit = ""
    else:
        unit = parts.unit
    if parts.margin and low:
        return f"{low}~{parts.margin} {unit or 'min'}"
    number_pattern = rf"({_NUMBER_PATTERN})?"
    has_numbers = re.fullmatch(number_pattern, low) and re.fullmatch(number_pattern, high)
    unit_suffix = f" {unit}" if unit and has_numbers else ""
    return _write_range(low, high, unit_suffix)


def _write_range(low: str, high: str, unit_suffix: str) -> str:
    """Write a range with a unit; a range of two equal ends is one value, a range without ends an empty text."""
    if not low and not high:
        return ""
    if low == high:
        return f"{low}{unit_suffix}"
    if not high:
        return f"{low}{unit_suffix}.."
    return f"{low}..{high}{unit_suffix}"


def split_field_condition(values: Sequence[str], *, is_time: bool = False) -> FormFieldParts:
    """Split a condition into the parts that a form shows.

    A condition that has no parts is one in `FormFieldParts.low`.
    """
    text = ",".join(values).strip()
    parts = None
    if is_time and text.count("~") == 1:
        parts = _split_time_margin(text)
    if parts is None and len(values) == 1 and _is_plain_range(text):
        parts = _split_range(text, is_time=is_time)
    return parts or FormFieldParts(low=text)


def _split_time_margin(text: str) -> FormFieldParts | None:
    """Split a time with a margin; None if it is written in another way."""
    low, _, margin_text = text.partition("~")
    margin_match = _QUANTITY_PATTERN.fullmatch(margin_text.strip())
    if margin_match is None or (margin_match[2] or "") not in MARGIN_UNITS:
        return None
    return FormFieldParts(low=low.strip(), margin=margin_match[1], unit=margin_match[2])


def _is_plain_range(text: str) -> bool:
    """Return whether a condition is one value or one range, without operators, lists, quotes and margins."""
    if not text or text[0] in "<>=!" or text.lower() == "null":
        return False
    return not set(text) & set(',"~') and text.count("..") <= 1


def _split_range(text: str, *, is_time: bool) -> FormFieldParts | None:
    """Split a value or a range of times or of numbers with a unit; None if it is written in another way."""
    try:
        ends = split_condition_range(ConditionValue(text, 0), "=", text)
    except ParseError:  # a range without ends
        return None
    low, high = ("" if end is None else end.text.strip() for end in ends)
    if is_time:
        return _split_time_condition(text, low, high)
    first = _QUANTITY_PATTERN.fullmatch(low)
    last = _QUANTITY_PATTERN.fullmatch(high)
    if (low and first is None) or (high and last is None) or not (low or high):
        return None
    first_unit = ""
    if first is not None:
        first_unit = first[2] or ""
    last_unit = ""
    if last is not None:
        last_unit = last[2] or ""
    has_two_units = bool(first_unit and last_unit) and first_unit != last_unit
    # 10 km..20: the second number is in the column's own unit
    has_open_unit = bool(first_unit) and last is not None and not last_unit
    if has_two_units or has_open_unit:
        return None
    return FormFieldParts(
        low=first[1] if first is not None else "",
        high=last[1] if last is not None else "",
        unit=first_unit or last_unit,
    )


def _split_time_condition(text: str, low: str, high: str) -> FormFieldParts:
    """Split a range of times into its two fields.

    A date alone is the whole period, so an open range that begins with a date stays as it is written.
    """
    if DATE_PATTERN.fullmatch(low) and not high:
        return FormFieldParts(low=text)
    is_one_date = low == high and DATE_PATTERN.fullmatch(low) is not None
    return FormFieldParts(low=low, high="" if is_one_date else high)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """A field of a form: a column, or ``x`` for a pair ``x_min``, ``x_max``, whose first one is `column`."""

    name: str
    column: Column
    kind: str
    units: tuple[str, ...] = ()
    is_pair: bool = False


def build_form_fields(table: Table, requested_names: Iterable[str] = ()) -> list[FormField]:
    """Return the fields of a table's form.

    Columns of a pair have one of their own only if they are among `requested_names`.
    """
    columns = [column for column in table.columns if not column.hidden]
    asked_lower = {name.lower() for name in requested_names}
    form_fields: list[FormField] = []
    pairs: dict[str, FormField] = {}  # by the names of both columns
    for stem, low, high in find_range_pairs(columns):
        kind = classify_form_field(low, table)
        pair_field = FormField(name=stem, column=low, kind=kind, units=_list_field_units(low), is_pair=True)
        pairs[low.name.lower()] = pairs[high.name.lower()] = pair_field
    for column in columns:
        name = column.name.lower()
        if name in pairs and pairs[name] not in form_fields:
            form_fields.append(pairs[name])
        if name not in pairs or name in asked_lower:
            kind = classify_form_field(column, table)
            field_units = _list_field_units(column)
            form_fields.append(FormField(name=column.name, column=column, kind=kind, units=field_units))
    return form_fields


def list_initial_form_fields(table: Table) -> tuple[str, ...]:
    """Return the fields that a form begins with: those of the descriptor, or the usual ones of the standard."""
    if table.form:
        return table.form
    column_names = {column.name.lower() for column in table.columns if not column.hidden}
    if "granule_uid" in column_names:
        return ("time", "target_name", "c1", "c2", "solar_longitude")
    if "obs_publisher_did" in column_names:
        return ("t", "target_name", "em", "dataproduct_type")
    return ()


def find_range_pairs(columns: Sequence[Column]) -> list[tuple[str, Column, Column]]:
    """Return the pairs ``x_min``, ``x_max`` of columns, each with ``x`` and the two columns."""
    columns_by_name = {column.name.lower(): column for column in columns}
    range_pairs = []
    for column in columns:
        name = column.name.lower()
        for ending, other in (("_min", "_max"), ("min", "max")):
            stem = name.removesuffix(ending)
            last = columns_by_name.get(stem + other)
            has_stem = name.endswith(ending) and stem and stem not in columns_by_name
            if not has_stem or last is None or not _has_ordered_values(column):
                continue
            if last.type.is_numeric == column.type.is_numeric:
                range_pairs.append((stem, column, last))
                break
    return range_pairs


def _has_ordered_values(column: Column) -> bool:
    return (column.type.is_numeric or column.type.is_timestamp) and not column.type.is_array


def _list_field_units(column: Column) -> tuple[str, ...]:
    if column.type.is_numeric and not is_time_column(column):
        return list_query_units(column.unit)
    return ()


def list_display_units(column: Column) -> tuple[str, ...]:
    """Return the units in which a column can be shown, its own first; empty if there is only that one."""
    stored_unit = column.unit or ""
    if not stored_unit or not _is_quantity_column(column) or is_time_column(column):
        return ()
    unit_family: tuple[str, ...] = ()
    for family in DISPLAY_UNIT_GROUPS:
        if stored_unit in family or units.are_units_convertible(stored_unit, family[0]):
            unit_family = family
            break
    if is_spectral(column):
        is_frequency = stored_unit in DISPLAY_UNIT_GROUPS[3]
        unit_family = tuple(dict.fromkeys([*(unit_family if is_frequency else ()), *SPECTRAL_UNITS]))
    other_units = [unit for unit in unit_family if unit != stored_unit]
    if stored_unit == "deg" and _is_position(column):
        other_units.insert(0, SEXAGESIMAL_UNITS[_is_right_ascension(column)])
    if other_units:
        return (stored_unit, *other_units)
    return ()


def build_unit_scale(column: Column, unit: str) -> UnitScale | None:
    """Return the scale of a unit that a reader chose; None if it does not fit the column.

    Parameters
    ----------
    column
        The column.
    unit
        The unit.
    """
    if not _is_quantity_column(column) or is_time_column(column):
        return None
    if unit in SEXAGESIMAL_UNITS:
        if column.unit == "deg":
            return UnitScale(unit=unit, is_sexagesimal=True)
        return None
    try:
        checked_unit = units.canonicalize_unit(unit)
        stored_unit = column.unit or ""
        if is_spectral(column) and not units.are_units_convertible(stored_unit, checked_unit):
            factor, inverse = units.compute_spectral_conversion(stored_unit, checked_unit)
            return UnitScale(unit=checked_unit, factor=factor, is_inverse=inverse)
        return UnitScale(unit=checked_unit, factor=units.compute_unit_factor(stored_unit, checked_unit))
    except ValueError:
        return None


def _is_quantity_column(column: Column) -> bool:
    return column.type.is_numeric and not column.type.is_array and not column.enum


def _is_position(column: Column) -> bool:
    return (column.ucd or "").lower().startswith("pos.")


def _is_right_ascension(column: Column) -> bool:
    return (column.ucd or "").lower().startswith("pos.eq.ra")
