"""Fields of a form: what kind each column's is, and how the parts of one (from, to, unit, around) become the value of an address and back.

A form sends ``vmag=3&_to.vmag=6&_as.vmag=mmag``; the address of the search is ``vmag=3..6 mmag``. So a form without scripts asks for
the same things, and whoever writes a whole condition into the first part (``..6``, ``1,2``, ``!null``) is understood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import units
from hven.model.errors import ParseError
from hven.model.table import is_time
from hven.portal._condition_words import Word, span
from hven.portal._explore.number_text import Scale, of_light

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column, Table

TO, AS, AROUND = "_to.", "_as.", "_pm."  # parts of a column's field: its upper end, its unit, how long before and after
RADIUS, RADIUS_UNIT, EACH = "_radius", "_radius_unit", "_each"
_PARTS = (TO, AS, AROUND)
_WHOLE = re.compile(r"[<>=!]|.*(\.\.|,|~|\"|\d\s*/\s*[-+.\d])|null$", re.IGNORECASE | re.DOTALL)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")  # a year, a month or a day
_MEASURE = re.compile(rf"({_NUMBER})\s*([^\d\s.,<>=!~].*)?")
ALIKE = (
    ("m", "km", "AU", "pc", "kpc", "nm", "um", "mm", "cm", "Angstrom", "solRad"), ("deg", "arcmin", "arcsec", "mas", "rad"), ("s", "min", "h", "d", "yr"), ("Hz", "kHz", "MHz", "GHz"),
    ("kg", "g", "solMass", "t"), ("K", "mK"), ("Jy", "mJy", "uJy"), ("km/s", "m/s", "cm/s"), ("mag", "mmag"), ("Pa", "hPa", "bar", "mbar"), ("eV", "keV", "MeV", "J"), ("mas/yr", "arcsec/yr", "deg/yr"),
    ("T", "G", "nT"), ("W", "erg/s", "solLum"),
)  # fmt: skip
SPECTRAL = ("Hz", "kHz", "MHz", "GHz", "um", "nm", "Angstrom", "mm", "cm-1", "eV", "keV")
TIMES = ("s", "min", "h", "d")
SEXAGESIMAL = ("d:m:s", "h:m:s")
FAMILIES = (  # what people choose among; the first one says what can be converted
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
class Parts:
    """What stands in a field: `low` alone if it is a whole condition."""

    low: str = ""
    high: str = ""
    unit: str = ""
    around: str = ""


def kind(column: Column, table: Table) -> str:
    """Return what field a column has: ``time``, ``flag``, ``code``, ``range``, ``text``."""
    if is_time(column):
        return "time"
    if column.type.is_boolean:
        return "flag"
    if column.enum and column.enum in table.enums:
        return "code"
    return "range" if column.type.is_numeric and not column.type.is_array else "text"


def offered(unit: str | None) -> tuple[str, ...]:
    """Return the units that a number of this unit may be written in, its own first; nothing: there is no choice."""
    if not unit:
        return ()
    try:
        if units.convertible(unit, "Hz"):
            return tuple(dict.fromkeys([unit, *SPECTRAL]))
        for group in ALIKE:
            if unit in group or units.convertible(unit, group[0]):
                found = tuple(dict.fromkeys([unit, *(one for one in group if units.convertible(one, unit))]))
                return found if len(found) > 1 else ()
    except ValueError:
        return ()
    return ()


def joined(pairs: Iterable[tuple[str, str]]) -> tuple[list[tuple[str, str]], bool]:
    """Join the parts of fields; return also whether there were any."""
    given = list(pairs)
    parts = {
        name: value.strip() for name, value in given if name.startswith(_PARTS) or name in {RADIUS, RADIUS_UNIT, EACH}
    }
    if not parts:
        return given, False
    whole: list[tuple[str, str]] = []
    for name, value in given:
        if name in parts:
            continue
        first = value.strip()
        if name == "_near" and RADIUS in parts and first:
            first = f"{first},{parts[RADIUS]} {parts.get(RADIUS_UNIT, '')}".rstrip() if parts[RADIUS] else f"{first},1"
        elif name == "_every" and first and parts.get(EACH):
            first = f"{first},{parts[EACH]}"
        elif TO + name in parts:
            first = written(
                Parts(
                    low=first, high=parts[TO + name], unit=parts.get(AS + name, ""), around=parts.get(AROUND + name, "")
                ),
                time=AROUND + name in parts,
            )
        if first:
            whole.append((name, first))
    return whole, True


def written(parts: Parts, *, time: bool = False) -> str:
    """Write the parts of a field as one condition; of a time, a day, month or year alone is all of it."""
    low, high = parts.low, parts.high
    unit = (
        "" if time and not parts.around else parts.unit
    )  # that of a time is of what is around it: 2012..2013 are years
    if time and not high and not parts.around and DATE.fullmatch(low):
        return low
    if low and (_WHOLE.match(low) or not (high or any(letter.isdigit() for letter in low))):
        return low
    if parts.around and low:
        return f"{low}~{parts.around} {unit or 'min'}"
    plain = re.fullmatch(rf"({_NUMBER})?", low) and re.fullmatch(rf"({_NUMBER})?", high)
    end = f" {unit}" if unit and plain else ""
    if low and low == high:
        return f"{low}{end}"
    if low and high:
        return f"{low}..{high}{end}"
    return f"{low}{end}.." if low else f"..{high}{end}" if high else ""


def taken(values: Sequence[str], *, time: bool = False) -> Parts:
    """Return the parts of a condition, as a form shows them."""
    text = ",".join(values).strip()
    if not text:
        return Parts()
    if time and text.count("~") == 1:
        low, _, around = text.partition("~")
        found = _MEASURE.fullmatch(around.strip())
        if found is not None and (found[2] or "") in TIMES:
            return Parts(low=low.strip(), around=found[1], unit=found[2])
    if (
        len(values) != 1
        or "," in text
        or text[0] in "<>=!"
        or text.lower() == "null"
        or '"' in text
        or "~" in text
        or text.count("..") > 1
    ):
        return Parts(low=text)
    try:
        ends = span(Word(text, 0), "=", text)
    except ParseError:  # a range without ends
        return Parts(low=text)
    low, high = ("" if one is None else one.text.strip() for one in ends)
    if time:
        return _time_parts(text, low, high)
    measures = [_MEASURE.fullmatch(part) for part in (low, high) if part]
    if not measures or any(one is None for one in measures):
        return Parts(low=text)
    named = {one[2] or "" for one in measures if one is not None} - {""}
    if len(named) > 1:
        return Parts(low=text)
    first = _MEASURE.fullmatch(low)
    last = _MEASURE.fullmatch(high)
    if first is not None and first[2] and last is not None and not last[2]:
        return Parts(low=text)  # 10 km..20: the second number is in the column's own unit
    return Parts(
        low=first[1] if first is not None else "", high=last[1] if last is not None else "", unit=next(iter(named), "")
    )


def _time_parts(text: str, low: str, high: str) -> Parts:
    """Return a condition of a time as its two fields show it: a date alone is all of it, so an open range that begins with one stays as it is written."""
    if DATE.fullmatch(low) and not high:
        return Parts(low=text)
    return Parts(low=low, high="" if low == high and DATE.fullmatch(low) else high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a form: a column, or a pair ``x_min``, ``x_max`` that is asked for as ``x``; `column` is the first of them."""

    name: str
    column: Column
    kind: str
    units: tuple[str, ...] = ()
    pair: bool = False


def form(table: Table, asked: Iterable[str] = ()) -> list[Field]:
    """Return the fields of a table's form; columns of a pair have one of their own only if they are among `asked`."""
    columns = [column for column in table.columns if not column.hidden]
    wanted = {name.lower() for name in asked}
    found: list[Field] = []
    pairs: dict[str, Field] = {}  # by each of the two names: the one that comes first stands for both
    for stem, low, high in paired(columns):
        one = Field(name=stem, column=low, kind=kind(low, table), units=_units(low), pair=True)
        pairs[low.name.lower()] = pairs[high.name.lower()] = one
    for column in columns:
        name = column.name.lower()
        if name in pairs and pairs[name] not in found:
            found.append(pairs[name])
        if name not in pairs or name in wanted:
            found.append(Field(name=column.name, column=column, kind=kind(column, table), units=_units(column)))
    return found


def first(table: Table) -> tuple[str, ...]:
    """Return the fields that a form begins with: those that the descriptor says, else those that people ask of such a table, then columns of its own."""
    if table.form:
        return table.form
    known = {column.name.lower() for column in table.columns if not column.hidden}
    begin = ("time", "target_name", "c1", "c2", "solar_longitude") if "granule_uid" in known else ()
    return begin or (("t", "target_name", "em", "dataproduct_type") if "obs_publisher_did" in known else ())


def paired(columns: Sequence[Column]) -> list[tuple[str, Column, Column]]:
    """Return the pairs ``x_min``, ``x_max`` of columns, each as ``x`` and the two."""
    known = {column.name.lower(): column for column in columns}
    found = []
    for column in columns:
        name = column.name.lower()
        for ending, other in (("_min", "_max"), ("min", "max")):
            stem = name.removesuffix(ending)
            last = known.get(stem + other)
            if (
                name.endswith(ending)
                and stem
                and stem not in known
                and last is not None
                and last.type.is_numeric == column.type.is_numeric
                and _ordered(column)
            ):
                found.append((stem, column, last))
                break
    return found


def _ordered(column: Column) -> bool:
    return (column.type.is_numeric or column.type.is_timestamp) and not column.type.is_array


def _units(column: Column) -> tuple[str, ...]:
    return offered(column.unit) if column.type.is_numeric and not is_time(column) else ()


def choices(column: Column) -> tuple[str, ...]:
    """Return the units that a column can be read in, its own first; none but that one: an empty tuple."""
    own = column.unit or ""
    if not own or not _counts(column) or is_time(column):
        return ()
    found: tuple[str, ...] = next(
        (family for family in FAMILIES if own in family or units.convertible(own, family[0])), ()
    )
    if of_light(column):
        found = tuple(dict.fromkeys([*found[: len(found) if own in FAMILIES[3] else 0], *SPECTRAL]))
    angles = (SEXAGESIMAL[_hours(column)],) if own == "deg" and _position(column) else ()
    others = (*angles, *(unit for unit in found if unit != own))
    return (own, *others) if others else ()


def chosen(column: Column, wanted: str) -> Scale | None:
    """Return the unit that a reader chose; None: it does not fit the column."""
    if not _counts(column) or is_time(column):
        return None
    if wanted in SEXAGESIMAL:
        return Scale(unit=wanted, sexagesimal=True) if column.unit == "deg" else None
    try:
        named, own = units.check(wanted), column.unit or ""
        if of_light(column) and not units.convertible(own, named):
            factor, inverse = units.spectral(own, named)
            return Scale(unit=named, factor=factor, inverse=inverse)
        return Scale(unit=named, factor=units.factor(own, named))
    except ValueError:
        return None


def _counts(column: Column) -> bool:
    return column.type.is_numeric and not column.type.is_array and not column.enum


def _position(column: Column) -> bool:
    return (column.ucd or "").lower().startswith("pos.")


def _hours(column: Column) -> bool:
    return (column.ucd or "").lower().startswith("pos.eq.ra")
