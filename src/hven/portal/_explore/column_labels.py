"""What a column is called on pages, and what its codes mean.

The descriptor's words, else those of its standard, else its name.

Names of queries never change: these are words for people alone, in their language. All that tells a column (heads,
forms, chips, panel, statistics, plots, maps, search) asks here.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hven.adql.reserved_words import RESERVED_WORDS
from hven.model import units
from hven.model.table import LocalizedText, is_time_column, translate_text
from hven.portal._explore.number_formatting import UnitScale, choose_usual_scale, is_spectral
from hven.portal._explore.search_fields import choose_scale, find_range_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.model.table import Column, Table

LABELS_PARAMETER, RAW_LABELS = "_names", "raw"  # of an address: columns are called as queries call them
UCD_FRAMES = (  # what the UCD of a first coordinate says of the frame
    ("pos.bodyrc", "body"),
    ("pos.eq", "celestial"),
    ("pos.galactic", "celestial"),
    ("pos.ecliptic", "celestial"),
    ("pos.cartesian", "cartesian"),
    ("pos.spherical", "spherical"),
    ("pos.cylindrical", "cylindrical"),
    ("pos.healpix", "healpix"),
)
SPECTRAL_LABELS = {  # of a pair, and of its ends
    "length": ("Wavelength", "Shortest wavelength", "Longest wavelength"),
    "frequency": ("Frequency", "Lowest frequency", "Highest frequency"),
    "energy": ("Energy", "Lowest energy", "Highest energy"),
    "number": ("Wavenumber", "Lowest wavenumber", "Highest wavenumber"),
}
RANGE_END_LABELS = "{label}, min", "{label}, max"
_RANGE_END_PATTERN = re.compile(r"(.+?)_?(min|max)", re.IGNORECASE)
_NON_UNIT_PATTERN = re.compile(r"-1\b|[^a-z0-9]")
UNIT_NAME_ENDINGS = {  # what names of columns say for units, beside the unit itself
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
_OBSCORE_UTYPE_PREFIXES = ("obscore:", "obscore_radio:")


@dataclass(frozen=True, kw_only=True)
class ColumnLabels:
    """The words for one table's columns.

    Attributes
    ----------
    translations
        The language's catalogue of these words, English -> its own; empty in English.
    frame
        The spatial_frame_type of an EPN-TAP table, where its columns do not tell: their UCDs go first.
    statistics
        Of the published rows, by which units are chosen; empty where a policy hides some.
    is_raw
        The reader wants names as queries write them, and codes as they are.
    """

    table: Table
    language: str = "en"
    translations: Mapping[str, str] = field(default_factory=dict, compare=False)
    frame: str = ""
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict, compare=False)
    is_raw: bool = False

    def label_column(self, column: Column, unit: str | None = None) -> str:
        """Return what a column is called; `unit`: that it is told in, where it is another than the usual one."""
        if self.is_raw:
            return column.name
        return (
            self._find_descriptor_label(column)
            or self._find_spectral_label(column, column.name, unit)
            or self._find_standard_label(column, column.name)
            or self._shorten_name(column, column.name, unit)
        )

    def find_scale(self, column: Column) -> UnitScale:
        """Return the unit that a column is told in if nobody chose one.

        That of the size of its numbers, or of the pair that it is of; as it is where nothing is known of them.
        """
        scale = self._scales.get(column.name)
        if scale is None:
            scale = self._scales[column.name] = self._choose_scale(column)
        return scale

    def _choose_scale(self, column: Column) -> UnitScale:
        if self.is_raw or not column.type.is_numeric or is_time_column(column) or self.find_code_words(column):
            return UnitScale(unit=self.find_unit(column))
        _, low, high = self.range_pairs.get(column.name, ("", column, column))
        low_ = self.statistics.get(low.name, {})
        high_ = self.statistics.get(high.name, {})
        return choose_usual_scale(column, {"minimum": low_.get("minimum"), "maximum": high_.get("maximum")})

    @cached_property
    def range_pairs(self) -> Mapping[str, tuple[str, Column, Column]]:
        """The pairs ``x_min``, ``x_max`` of the table, by the name of each of the two: ``x`` and the two."""
        pairs = find_range_pairs([column for column in self.table.columns if not column.hidden])
        return {column.name: (stem, low, high) for stem, low, high in pairs for column in (low, high)}

    @cached_property
    def _scales(self) -> dict[str, UnitScale]:
        return {}

    @cached_property
    def _columns(self) -> Mapping[str, Column]:
        return {column.name.lower(): column for column in self.table.columns}

    def label_field(self, name: str, unit: str | None = None) -> str:
        """Return what a field of a search is called.

        A column, or a pair ``x_min``, ``x_max`` that is asked for as ``x``.
        """
        if self.is_raw:
            return name
        columns = self._columns
        column = columns.get(name.lower())
        if column is not None:
            return self.label_column(column, unit)
        low = columns.get(f"{name.lower()}_min") or columns.get(f"{name.lower()}min")
        if low is None:
            return name
        return (
            self._find_spectral_label(low, name, unit)
            or self._find_standard_label(low, name)
            or self._shorten_name(low, name, unit)
        )

    def describe_column(self, column: Column, name: str = "") -> str:
        """Return what is told of a column when one points at it.

        Its name, where it is called otherwise, and its description; `name`: of its field.
        """
        name = name or column.name
        description = translate_text(self.language, column.description or "")
        if self.label_field(name) == name:
            return description
        if description:
            return f"{name}: {description}"
        return name

    def find_unit(self, column: Column) -> str:
        """Return the unit of a column as stored values have it; of a time that is written as a date, its scale."""
        if self.is_raw or not is_time_column(column):
            return column.unit or ""
        frame = next((candidate for candidate in self.table.frames if candidate.id == column.frame), None)
        scale = (frame.timescale if frame is not None else None) or "UTC"
        return "" if scale == "UNKNOWN" else scale

    def find_code_words(self, column: Column, *, is_plural: bool = False) -> Mapping[str, str]:
        """Return what the codes of a column mean: code -> word; `is_plural`: in the plural, where there is one. Empty.

        It has none.
        """
        if self.is_raw:
            return {}
        if column.enum and column.enum in self.table.enums:
            return {code: translate_text(self.language, word) for code, word in self.table.enums[column.enum].items()}
        standard_name = find_standard(self.table, column)
        if standard_name:
            codes = load_standard_labels()[standard_name].codes.get(column.name.lower(), {})
        else:
            codes = {}
        return {code: self._translate(words[-1] if is_plural else words[0]) for code, words in codes.items()}

    def translate_code(self, column: Column, code: str, *, is_plural: bool = False) -> str:
        """Return what a code means, or the code; lists ``a#b`` are taken apart."""
        words = self.find_code_words(column, is_plural=is_plural)
        if words:
            return ", ".join(words.get(item, item) for item in code.split("#"))
        return code

    def _find_spectral_label(self, column: Column, name: str, unit: str | None) -> str:
        """Return the word for light that is told otherwise than it is stored.

        Frequencies as wavelengths, wavelengths as energies; empty: it is not.
        """
        if not is_spectral(column):
            return ""
        scale = self.find_scale(column) if unit is None else choose_scale(column, unit)
        stored_scale = choose_scale(column, column.unit or "")
        if (
            scale is None
            or stored_scale is None
            or (kind := _classify_spectral_unit(scale.unit)) == _classify_spectral_unit(stored_scale.unit)
        ):
            return ""
        end_match = _RANGE_END_PATTERN.fullmatch(name.lower())
        return self._translate(
            SPECTRAL_LABELS[kind][0 if end_match is None else 1 + ((end_match[2] == "max") != scale.is_inverse)]
        )

    def _find_descriptor_label(self, column: Column) -> str:
        """Return the word of the descriptor."""
        return translate_text(self.language, column.label or "")

    def _find_standard_label(self, column: Column, name: str) -> str:
        """Return the word of the standard; empty: it has none."""
        standard_name = find_standard(self.table, column)
        if standard_name:
            words = load_standard_labels()[standard_name].select_frame(find_coordinate_frame(self.table) or self.frame)
        else:
            words = {}
        short = name.lower()
        if short in words:
            return self._translate(words[short][0])
        end_match = _RANGE_END_PATTERN.fullmatch(short)
        if end_match is None or (pair := words.get(end_match[1])) is None:
            return ""
        end = end_match[2] == "max"
        if pair[1:]:
            return self._translate(pair[1 + end])
        return self._translate(RANGE_END_LABELS[end]).format(label=self._translate(pair[0]))

    def _shorten_name(self, column: Column, name: str, unit: str | None) -> str:
        """Return a name without what queries need and people do not read.

        The ``_`` behind a reserved word, a unit that is not the one shown.
        """
        if name.endswith("_") and name[:-1].upper() in RESERVED_WORDS and name[:-1].lower() not in self._columns:
            return name[:-1]
        if unit is None:
            shown_unit = self.find_scale(column).unit
        else:
            shown_unit = unit
        if not column.unit or shown_unit == column.unit:
            return name
        short = strip_unit(name, column.unit)
        same_stem = [
            other_column
            for other_column in self.table.columns
            if not other_column.hidden and strip_unit(other_column.name, other_column.unit or "") == short
        ]
        is_ambiguous = bool({short.lower(), f"{short.lower()}_"} & self._columns.keys()) or len(same_stem) > 1
        return name if is_ambiguous else short

    def _translate(self, text: str) -> str:
        return self.translations.get(text, text)


def strip_unit(name: str, unit: str) -> str:
    """Remove the unit from the end of a name: ``size_kb`` of kbyte is ``size``, ``freq_hz_min`` of Hz is ``freq_min``.

    Parameters
    ----------
    name
        Of a column, or of a pair of columns.
    unit
        In which the column's values are stored; a name that ends otherwise stays as it is.
    """
    end_match = _RANGE_END_PATTERN.fullmatch(name)
    if end_match is not None:
        stem, end = (end_match[1], f"_{end_match[2]}")
    else:
        stem, end = (name, "")
    words = {_fold_unit(word) for word in (unit, *UNIT_NAME_ENDINGS.get(unit, ()))}
    parts = stem.split("_")
    for count in (2, 1):
        if len(parts) > count and parts[0] and _fold_unit("_".join(parts[-count:])) in words:
            return "_".join(parts[:-count]) + end
    return name


def _fold_unit(text: str) -> str:
    """Return a unit as names of columns write it: ``km.s-1`` and ``km_s`` are both ``kms``."""
    return _NON_UNIT_PATTERN.sub("", text.lower())


def _classify_spectral_unit(unit: str) -> str:
    """Return by what light is told."""
    bases = {"length": "m", "frequency": "Hz", "energy": "J", "number": "m-1"}
    return next((kind for kind, base in bases.items() if units.is_convertible(unit, base)), "length")


def find_standard(table: Table, column: Column) -> str:
    """Return of which standard a column is, by which its words are found: ``epn-tap``, ``obscore``, or nothing."""
    declared_standard = (table.standard or "").partition("-")[0]
    if declared_standard == "epn" or "epntap#table" in (table.utype or "") or table.name.lower() == "epn_core":
        return "epn-tap"
    if (
        declared_standard == "obscore"
        or "std/obscore" in (table.utype or "")
        or (column.utype or "").lower().startswith(_OBSCORE_UTYPE_PREFIXES)
    ):
        return "obscore"
    if (table.schema, table.name) in {("ivoa", "obscore"), ("ivoa", "obscore_radio")}:
        return "obscore"
    return ""


def find_coordinate_frame(table: Table) -> str:
    """Return the frame of an EPN-TAP table's coordinates (its spatial_frame_type), by the UCD of the first one; empty.

    None is known.
    """
    first = next((candidate for candidate in table.columns if candidate.name.lower() == "c1min"), None)
    if first is None:
        ucd = ""
    else:
        ucd = (first.ucd or "").lower()
    return next((name for part, name in UCD_FRAMES if ucd.startswith(part)), "")


def list_code_phrases(
    table: Table, column: Column, catalogues: Iterable[Mapping[str, str]]
) -> Mapping[str, tuple[str, ...]]:
    """Return all that the codes of a column are called: code -> its words in each language, the plural first.

    Parameters
    ----------
    catalogues
        Of the languages of the pages: the English words of standards -> their own.
    """
    if column.enum and column.enum in table.enums:
        enum = table.enums[column.enum]
        return {
            code: tuple(dict.fromkeys([word, *(word.texts.values() if isinstance(word, LocalizedText) else ())]))
            for code, word in enum.items()
        }
    standard_name = find_standard(table, column)
    if standard_name:
        codes = load_standard_labels()[standard_name].codes.get(column.name.lower(), {})
    else:
        codes = {}
    phrases_by_code = {
        code: [
            phrase
            for word in reversed(words)
            for phrase in (word, *(catalogue.get(word, word) for catalogue in catalogues))
        ]
        for code, words in codes.items()
    }
    return {code: tuple(dict.fromkeys(words)) for code, words in phrases_by_code.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardLabels:
    """The English words of a standard.

    Of columns and pairs (one, or three: of the pair and its ends), as they are called in each frame; of codes (one, or
    two: the plural).
    """

    columns: Mapping[str, tuple[str, ...]]
    frames: Mapping[str, Mapping[str, tuple[str, ...]]]
    codes: Mapping[str, Mapping[str, tuple[str, ...]]]

    def select_frame(self, frame: str) -> Mapping[str, tuple[str, ...]]:
        """Return the words of columns in a frame."""
        if frame in self.frames:
            return {**self.columns, **self.frames[frame]}
        return self.columns

    def list_texts(self) -> set[str]:
        """Return all words, as catalogues know them."""
        label_groups = (self.columns, *self.frames.values(), *self.codes.values())
        return {text for label_group in label_groups for words in label_group.values() for text in words}


@cache
def load_standard_labels() -> Mapping[str, StandardLabels]:
    """Read the words of all standards."""
    definitions = tomllib.loads(Path(__file__).with_name("column_labels.toml").read_text(encoding="utf-8"))
    return {
        name: StandardLabels(
            columns=_normalize_labels(definition["columns"]),
            frames={frame: _normalize_labels(words) for frame, words in definition.get("frames", {}).items()},
            codes={column: _normalize_labels(words) for column, words in definition["codes"].items()},
        )
        for name, definition in definitions.items()
    }


def _normalize_labels(words: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: (labels,) if isinstance(labels, str) else tuple(labels) for name, labels in words.items()}
