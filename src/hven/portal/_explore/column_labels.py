"""What a column is called on pages, and what its codes mean: the descriptor's words, else those of its standard, else its name.

Names of queries never change: these are words for people alone, in their language. All that tells a column (heads, forms, chips, panel,
statistics, plots, maps, search) asks here.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hven.adql.reserved import RESERVED
from hven.model import units
from hven.model.table import Wording, is_time, told_in
from hven.portal._explore.fields import chosen, paired
from hven.portal._explore.number_text import Scale, of_light, usual

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.model.table import Column, Table

NAMES, RAW = "_names", "raw"  # of an address: columns are called as queries call them
FRAMES = (  # what the UCD of a first coordinate says of the frame
    ("pos.bodyrc", "body"), ("pos.eq", "celestial"), ("pos.galactic", "celestial"), ("pos.ecliptic", "celestial"),
    ("pos.cartesian", "cartesian"), ("pos.spherical", "spherical"), ("pos.cylindrical", "cylindrical"), ("pos.healpix", "healpix"),
)  # fmt: skip
LIGHT = {  # of a pair, and of its ends
    "length": ("Wavelength", "Shortest wavelength", "Longest wavelength"),
    "frequency": ("Frequency", "Lowest frequency", "Highest frequency"),
    "energy": ("Energy", "Lowest energy", "Highest energy"),
    "number": ("Wavenumber", "Lowest wavenumber", "Highest wavenumber"),
}
ENDS = "{label}, min", "{label}, max"
_END = re.compile(r"(.+?)_?(min|max)", re.IGNORECASE)
_NOT_OF_UNITS = re.compile(r"-1\b|[^a-z0-9]")
UNIT_WORDS = {  # what names of columns say for units, beside the unit itself
    "byte": ("bytes", "b"),
    "kbyte": ("kb", "kib", "kbytes"),
    "Mbyte": ("mb", "mib", "mbytes"),
    "Gbyte": ("gb", "gib", "gbytes"),
    "s": ("sec", "secs", "seconds"),
    "ms": ("msec", "millis", "milliseconds"),
    "min": ("minutes",),
    "h": ("hours",),
    "d": ("days",),
    "m": ("metre", "metres", "meter", "meters"),
    "um": ("micron", "microns", "micrometer"),
    "Angstrom": ("a", "ang", "angstroms"),
    "deg": ("degrees",),
}
_UTYPES = ("obscore:", "obscore_radio:")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The words for one table's columns.

    Attributes
    ----------
    known
        The language's catalogue of these words, English -> its own; empty in English.
    frame
        The spatial_frame_type of an EPN-TAP table, where its columns do not tell: their UCDs go first.
    statistics
        Of the published rows, by which units are chosen; empty where a policy hides some.
    raw
        The reader wants names as queries write them, and codes as they are.
    """

    table: Table
    language: str = "en"
    known: Mapping[str, str] = field(default_factory=dict, compare=False)
    frame: str = ""
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict, compare=False)
    raw: bool = False

    def column(self, column: Column, unit: str | None = None) -> str:
        """Return what a column is called; `unit`: that it is told in, where it is another than the usual one."""
        if self.raw:
            return column.name
        return (
            self._own(column)
            or self._light(column, column.name, unit)
            or self._said(column, column.name)
            or self._readable_name(column, column.name, unit)
        )

    def scale(self, column: Column) -> Scale:
        """Return the unit that a column is told in if nobody chose one: that of the size of its numbers, or of the pair that it is of; as it is where nothing is known of them."""
        found = self._scales.get(column.name)
        if found is None:
            found = self._scales[column.name] = self._scale(column)
        return found

    def _scale(self, column: Column) -> Scale:
        if self.raw or not column.type.is_numeric or is_time(column) or self.words(column):
            return Scale(unit=self.unit(column))
        _, low, high = self.pairs.get(column.name, ("", column, column))
        low_, high_ = self.statistics.get(low.name, {}), self.statistics.get(high.name, {})
        return usual(column, {"minimum": low_.get("minimum"), "maximum": high_.get("maximum")})

    @cached_property
    def pairs(self) -> Mapping[str, tuple[str, Column, Column]]:
        """The pairs ``x_min``, ``x_max`` of the table, by the name of each of the two: ``x`` and the two."""
        every = paired([one for one in self.table.columns if not one.hidden])
        return {one.name: (stem, low, high) for stem, low, high in every for one in (low, high)}

    @cached_property
    def _scales(self) -> dict[str, Scale]:
        return {}

    @cached_property
    def _columns(self) -> Mapping[str, Column]:
        return {one.name.lower(): one for one in self.table.columns}

    def name(self, name: str, unit: str | None = None) -> str:
        """Return what a field of a search is called: a column, or a pair ``x_min``, ``x_max`` that is asked for as ``x``."""
        if self.raw:
            return name
        found = self._columns
        column = found.get(name.lower())
        if column is not None:
            return self.column(column, unit)
        low = found.get(f"{name.lower()}_min") or found.get(f"{name.lower()}min")
        if low is None:
            return name
        return self._light(low, name, unit) or self._said(low, name) or self._readable_name(low, name, unit)

    def told(self, column: Column, name: str = "") -> str:
        """Return what is told of a column when one points at it: its name, where it is called otherwise, and its description; `name`: of its field."""
        name, description = name or column.name, told_in(self.language, column.description or "")
        return description if self.name(name) == name else f"{name}: {description}" if description else name

    def unit(self, column: Column) -> str:
        """Return the unit of a column as stored values have it; of a time that is written as a date, its scale."""
        if self.raw or not is_time(column):
            return column.unit or ""
        frame = next((one for one in self.table.frames if one.id == column.frame), None)
        scale = (frame.timescale if frame is not None else None) or "UTC"
        return "" if scale == "UNKNOWN" else scale

    def words(self, column: Column, *, many: bool = False) -> Mapping[str, str]:
        """Return what the codes of a column mean: code -> word; `many`: in the plural, where there is one. Empty: it has none."""
        if self.raw:
            return {}
        if column.enum and column.enum in self.table.enums:
            return {code: told_in(self.language, word) for code, word in self.table.enums[column.enum].items()}
        of = standard(self.table, column)
        codes = standards()[of].codes.get(column.name.lower(), {}) if of else {}
        return {code: self._told(words[-1] if many else words[0]) for code, words in codes.items()}

    def value(self, column: Column, code: str, *, many: bool = False) -> str:
        """Return what a code means, or the code; lists ``a#b`` are taken apart."""
        words = self.words(column, many=many)
        return ", ".join(words.get(one, one) for one in code.split("#")) if words else code

    def _light(self, column: Column, name: str, unit: str | None) -> str:
        """Return the word for light that is told otherwise than it is stored: frequencies as wavelengths, wavelengths as energies; empty: it is not."""
        if not of_light(column):
            return ""
        scale = self.scale(column) if unit is None else chosen(column, unit)
        own = chosen(column, column.unit or "")
        if scale is None or own is None or (kind := _kind(scale.unit)) == _kind(own.unit):
            return ""
        found = _END.fullmatch(name.lower())
        return self._told(LIGHT[kind][0 if found is None else 1 + ((found[2] == "max") != scale.inverse)])

    def _own(self, column: Column) -> str:
        """Return the word of the descriptor."""
        return told_in(self.language, column.label or "")

    def _said(self, column: Column, name: str) -> str:
        """Return the word of the standard; empty: it has none."""
        of = standard(self.table, column)
        words = standards()[of].of(frame(self.table) or self.frame) if of else {}
        short = name.lower()
        if short in words:
            return self._told(words[short][0])
        found = _END.fullmatch(short)
        if found is None or (pair := words.get(found[1])) is None:
            return ""
        end = found[2] == "max"
        return self._told(pair[1 + end]) if pair[1:] else self._told(ENDS[end]).format(label=self._told(pair[0]))

    def _readable_name(self, column: Column, name: str, unit: str | None) -> str:
        """Return a name without what queries need and people do not read: the ``_`` behind a reserved word, a unit that is not the one shown."""
        if name.endswith("_") and name[:-1].upper() in RESERVED and name[:-1].lower() not in self._columns:
            return name[:-1]
        shown = self.scale(column).unit if unit is None else unit
        if not column.unit or shown == column.unit:
            return name
        short = strip_unit(name, column.unit)
        alike = [one for one in self.table.columns if not one.hidden and strip_unit(one.name, one.unit or "") == short]
        taken = bool({short.lower(), f"{short.lower()}_"} & self._columns.keys()) or len(alike) > 1
        return name if taken else short

    def _told(self, text: str) -> str:
        return self.known.get(text, text)


def strip_unit(name: str, unit: str) -> str:
    """Remove the unit from the end of a name: ``size_kb`` of kbyte is ``size``, ``freq_hz_min`` of Hz is ``freq_min``.

    Parameters
    ----------
    name
        Of a column, or of a pair of columns.
    unit
        In which the column's values are stored; a name that ends otherwise stays as it is.
    """
    found = _END.fullmatch(name)
    stem, end = (found[1], f"_{found[2]}") if found is not None else (name, "")
    words = {_fold_unit(word) for word in (unit, *UNIT_WORDS.get(unit, ()))}
    parts = stem.split("_")
    for count in (2, 1):
        if len(parts) > count and parts[0] and _fold_unit("_".join(parts[-count:])) in words:
            return "_".join(parts[:-count]) + end
    return name


def _fold_unit(text: str) -> str:
    """Return a unit as names of columns write it: ``km.s-1`` and ``km_s`` are both ``kms``."""
    return _NOT_OF_UNITS.sub("", text.lower())


def _kind(unit: str) -> str:
    """Return by what light is told."""
    bases = {"length": "m", "frequency": "Hz", "energy": "J", "number": "m-1"}
    return next((kind for kind, base in bases.items() if units.convertible(unit, base)), "length")


def standard(table: Table, column: Column) -> str:
    """Return of which standard a column is, by which its words are found: ``epn-tap``, ``obscore``, or nothing."""
    known = (table.standard or "").partition("-")[0]
    if known == "epn" or "epntap#table" in (table.utype or "") or table.name.lower() == "epn_core":
        return "epn-tap"
    if known == "obscore" or "std/obscore" in (table.utype or "") or (column.utype or "").lower().startswith(_UTYPES):
        return "obscore"
    return "obscore" if (table.schema, table.name) in {("ivoa", "obscore"), ("ivoa", "obscore_radio")} else ""


def frame(table: Table) -> str:
    """Return the frame of an EPN-TAP table's coordinates (its spatial_frame_type), by the UCD of the first one; empty: none is known."""
    first = next((one for one in table.columns if one.name.lower() == "c1min"), None)
    ucd = "" if first is None else (first.ucd or "").lower()
    return next((name for part, name in FRAMES if ucd.startswith(part)), "")


def phrases(table: Table, column: Column, catalogues: Iterable[Mapping[str, str]]) -> Mapping[str, tuple[str, ...]]:
    """Return all that the codes of a column are called: code -> its words in each language, the plural first.

    Parameters
    ----------
    catalogues
        Of the languages of the pages: the English words of standards -> their own.
    """
    if column.enum and column.enum in table.enums:
        enum = table.enums[column.enum]
        return {code: tuple(dict.fromkeys([word, *(word.texts.values() if isinstance(word, Wording) else ())])) for code, word in enum.items()}  # fmt: skip
    of = standard(table, column)
    codes = standards()[of].codes.get(column.name.lower(), {}) if of else {}
    said = {code: [one for word in reversed(words) for one in (word, *(known.get(word, word) for known in catalogues))] for code, words in codes.items()}  # fmt: skip
    return {code: tuple(dict.fromkeys(words)) for code, words in said.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """The English words of a standard: of columns and pairs (one, or three: of the pair and its ends), as they are called in each frame; of codes (one, or two: the plural)."""

    columns: Mapping[str, tuple[str, ...]]
    frames: Mapping[str, Mapping[str, tuple[str, ...]]]
    codes: Mapping[str, Mapping[str, tuple[str, ...]]]

    def of(self, frame: str) -> Mapping[str, tuple[str, ...]]:
        """Return the words of columns in a frame."""
        return {**self.columns, **self.frames[frame]} if frame in self.frames else self.columns

    def texts(self) -> set[str]:
        """Return all words, as catalogues know them."""
        said = (self.columns, *self.frames.values(), *self.codes.values())
        return {text for one in said for words in one.values() for text in words}


@cache
def standards() -> Mapping[str, Standard]:
    """Read the words of all standards."""
    read = tomllib.loads(Path(__file__).with_name("column_labels.toml").read_text(encoding="utf-8"))
    return {
        name: Standard(
            columns=_several(said["columns"]),
            frames={frame: _several(words) for frame, words in said.get("frames", {}).items()},
            codes={column: _several(words) for column, words in said["codes"].items()},
        )
        for name, said in read.items()
    }


def _several(words: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: (one,) if isinstance(one, str) else tuple(one) for name, one in words.items()}
