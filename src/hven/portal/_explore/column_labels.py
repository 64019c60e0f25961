"""Labels of columns and words of their codes, for pages, in the reader's language.

They are those of the descriptor, or else of the table's standard, or else the name of the column.

Names in queries never change. All parts of pages that name a column (headings, forms, chips, panel, statistics, plots,
maps, search) use this module.
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
from hven.portal._explore.number_formatting import UnitScale, choose_usual_unit_scale, is_spectral
from hven.portal._explore.search_fields import build_unit_scale, find_range_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.model.table import Column, Table

LABELS_PARAMETER, RAW_LABELS = "_names", "raw"  # an address parameter: pages show the names of queries
UCD_FRAMES = (  # the UCD of the first coordinate, and its frame
    ("pos.bodyrc", "body"),
    ("pos.eq", "celestial"),
    ("pos.galactic", "celestial"),
    ("pos.ecliptic", "celestial"),
    ("pos.cartesian", "cartesian"),
    ("pos.spherical", "spherical"),
    ("pos.cylindrical", "cylindrical"),
    ("pos.healpix", "healpix"),
)
SPECTRAL_LABELS = {  # label of a pair, and of its ends
    "length": ("Wavelength", "Shortest wavelength", "Longest wavelength"),
    "frequency": ("Frequency", "Lowest frequency", "Highest frequency"),
    "energy": ("Energy", "Lowest energy", "Highest energy"),
    "number": ("Wavenumber", "Lowest wavenumber", "Highest wavenumber"),
}
RANGE_END_LABELS = "{label}, min", "{label}, max"
_RANGE_END_PATTERN = re.compile(r"(.+?)_?(min|max)", re.IGNORECASE)
_NON_UNIT_PATTERN = re.compile(r"-1\b|[^a-z0-9]")
UNIT_NAME_ENDINGS = {  # endings of column names for units, beside the unit itself
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
    """The labels of one table's columns.

    Attributes
    ----------
    translations
        The catalogue of the language, English -> translation; empty for English.
    frame
        The spatial_frame_type of an EPN-TAP table, used if the UCDs of its columns do not name a frame.
    statistics
        Statistics of the published rows, by which units are chosen; empty where a policy hides rows.
    is_raw
        Whether the reader wants the names of queries, and codes instead of words.
    """

    table: Table
    language: str = "en"
    translations: Mapping[str, str] = field(default_factory=dict, compare=False)
    frame: str = ""
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict, compare=False)
    is_raw: bool = False

    def label_column(self, column: Column, unit: str | None = None) -> str:
        """Return the label of a column; `unit` is the shown unit, if it is not the usual one."""
        if self.is_raw:
            return column.name
        return (
            self._find_descriptor_label(column)
            or self._find_spectral_label(column, column.name, unit)
            or self._find_standard_label(column, column.name)
            or self._shorten_name(column, column.name, unit)
        )

    def find_unit_scale(self, column: Column) -> UnitScale:
        """Return the default unit of a column: one that suits the size of its numbers, or of its pair.

        Without statistics, it is the stored unit.
        """
        scale = self._scales.get(column.name)
        if scale is None:
            scale = self._scales[column.name] = self._choose_unit_scale(column)
        return scale

    def _choose_unit_scale(self, column: Column) -> UnitScale:
        if self.is_raw or not column.type.is_numeric or is_time_column(column) or self.find_code_words(column):
            return UnitScale(unit=self.find_unit_or_time_scale(column))
        _, low, high = self.range_pairs.get(column.name, ("", column, column))
        low_statistics = self.statistics.get(low.name, {})
        high_statistics = self.statistics.get(high.name, {})
        extremes = {"minimum": low_statistics.get("minimum"), "maximum": high_statistics.get("maximum")}
        return choose_usual_unit_scale(column, extremes)

    @cached_property
    def range_pairs(self) -> Mapping[str, tuple[str, Column, Column]]:
        """The pairs ``x_min``, ``x_max`` of the table, by the name of either column: ``x`` and the two columns."""
        pairs = find_range_pairs([column for column in self.table.columns if not column.hidden])
        return {column.name: (stem, low, high) for stem, low, high in pairs for column in (low, high)}

    @cached_property
    def _scales(self) -> dict[str, UnitScale]:
        return {}

    @cached_property
    def _columns(self) -> Mapping[str, Column]:
        return {column.name.lower(): column for column in self.table.columns}

    def label_field(self, name: str, unit: str | None = None) -> str:
        """Return the label of a search field: a column, or ``x`` for a pair ``x_min``, ``x_max``."""
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

    def write_column_tooltip(self, column: Column, name: str = "") -> str:
        """Return the tooltip of a column: its name, if the label differs, and its description.

        `name` is the name of its field.
        """
        name = name or column.name
        description = translate_text(self.language, column.description or "")
        if self.label_field(name) == name:
            return description
        if description:
            return f"{name}: {description}"
        return name

    def find_unit_or_time_scale(self, column: Column) -> str:
        """Return the stored unit of a column; for a time that is shown as a date, its time scale."""
        if self.is_raw or not is_time_column(column):
            return column.unit or ""
        frame = next((candidate for candidate in self.table.frames if candidate.id == column.frame), None)
        scale = (frame.timescale if frame is not None else None) or "UTC"
        if scale == "UNKNOWN":
            return ""
        return scale

    def find_code_words(self, column: Column, *, is_plural: bool = False) -> Mapping[str, str]:
        """Return the words of a column's codes, code -> word; empty if there are none.

        `is_plural`: in the plural, where there is one.
        """
        if self.is_raw:
            return {}
        if column.enum and column.enum in self.table.enums:
            return {code: translate_text(self.language, word) for code, word in self.table.enums[column.enum].items()}
        standard_name = find_label_standard(self.table, column)
        if standard_name:
            codes = load_standard_labels()[standard_name].codes.get(column.name.lower(), {})
        else:
            codes = {}
        return {code: self._translate(words[-1] if is_plural else words[0]) for code, words in codes.items()}

    def translate_code(self, column: Column, code: str, *, is_plural: bool = False) -> str:
        """Return the word of a code, or the code; lists ``a#b`` are translated item by item."""
        words = self.find_code_words(column, is_plural=is_plural)
        if words:
            return ", ".join(words.get(item, item) for item in code.split("#"))
        return code

    def _find_spectral_label(self, column: Column, name: str, unit: str | None) -> str:
        """Return the label of a spectral column that is shown in another quantity than it is stored.

        Frequencies are shown as wavelengths, wavelengths as energies. Return an empty text for other columns.
        """
        if not is_spectral(column):
            return ""
        scale = self.find_unit_scale(column) if unit is None else build_unit_scale(column, unit)
        stored_scale = build_unit_scale(column, column.unit or "")
        if scale is None or stored_scale is None:
            return ""
        kind = _classify_spectral_unit(scale.unit)
        if kind == _classify_spectral_unit(stored_scale.unit):
            return ""
        end_match = _RANGE_END_PATTERN.fullmatch(name.lower())
        label_number = 0
        if end_match is not None:
            is_upper_end = (end_match[2] == "max") != scale.is_inverse
            label_number = 1 + is_upper_end
        return self._translate(SPECTRAL_LABELS[kind][label_number])

    def _find_descriptor_label(self, column: Column) -> str:
        """Return the label of the descriptor."""
        return translate_text(self.language, column.label or "")

    def _find_standard_label(self, column: Column, name: str) -> str:
        """Return the label of the standard; empty if it has none."""
        standard_name = find_label_standard(self.table, column)
        if standard_name:
            frame = find_coordinate_frame(self.table) or self.frame
            words = load_standard_labels()[standard_name].select_frame_labels(frame)
        else:
            words = {}
        short = name.lower()
        if short in words:
            return self._translate(words[short][0])
        end_match = _RANGE_END_PATTERN.fullmatch(short)
        pair = None
        if end_match is not None:
            pair = words.get(end_match[1])
        if end_match is None or pair is None:
            return ""
        end = end_match[2] == "max"
        if pair[1:]:
            return self._translate(pair[1 + end])
        pair_label = self._translate(pair[0])
        return self._translate(RANGE_END_LABELS[end]).format(label=pair_label)

    def _shorten_name(self, column: Column, name: str, unit: str | None) -> str:
        """Return a name without parts that only queries need.

        These are the ``_`` after a reserved word, and a unit other than the shown one.
        """
        stem = name[:-1]
        is_reserved = name.endswith("_") and stem.upper() in RESERVED_WORDS
        if is_reserved and stem.lower() not in self._columns:
            return stem
        if unit is None:
            shown_unit = self.find_unit_scale(column).unit
        else:
            shown_unit = unit
        if not column.unit or shown_unit == column.unit:
            return name
        short = strip_unit_from_name(name, column.unit)
        same_stem = [
            other_column
            for other_column in self.table.columns
            if not other_column.hidden and strip_unit_from_name(other_column.name, other_column.unit or "") == short
        ]
        taken_names = {short.lower(), f"{short.lower()}_"} & self._columns.keys()
        if taken_names or len(same_stem) > 1:
            return name
        return short

    def _translate(self, text: str) -> str:
        return self.translations.get(text, text)


def strip_unit_from_name(name: str, unit: str) -> str:
    """Remove the unit from the end of a name: ``size_kb`` of kbyte is ``size``, ``freq_hz_min`` of Hz is ``freq_min``.

    Parameters
    ----------
    name
        The name of a column, or of a pair of columns.
    unit
        The stored unit; a name without it stays as it is.
    """
    end_match = _RANGE_END_PATTERN.fullmatch(name)
    if end_match is not None:
        stem, end = (end_match[1], f"_{end_match[2]}")
    else:
        stem, end = (name, "")
    words = {_normalize_unit_spelling(word) for word in (unit, *UNIT_NAME_ENDINGS.get(unit, ()))}
    parts = stem.split("_")
    for count in (2, 1):
        if len(parts) > count and parts[0]:
            ending = "_".join(parts[-count:])
            if _normalize_unit_spelling(ending) in words:
                return "_".join(parts[:-count]) + end
    return name


def _normalize_unit_spelling(text: str) -> str:
    """Fold a unit for comparison with column names: ``km.s-1`` and ``km_s`` are both ``kms``."""
    return _NON_UNIT_PATTERN.sub("", text.lower())


def _classify_spectral_unit(unit: str) -> str:
    """Return the spectral quantity of a unit: length, frequency, energy or (wave)number."""
    bases = {"length": "m", "frequency": "Hz", "energy": "J", "number": "m-1"}
    for kind, base in bases.items():
        if units.are_units_convertible(unit, base):
            return kind
    return "length"


def find_label_standard(table: Table, column: Column) -> str:
    """Return the standard whose labels a column has: ``epn-tap``, ``obscore``, or an empty text."""
    declared_standard = (table.standard or "").partition("-")[0]
    table_utype = table.utype or ""
    if declared_standard == "epn" or "epntap#table" in table_utype or table.name.lower() == "epn_core":
        return "epn-tap"
    has_obscore_utype = (column.utype or "").lower().startswith(_OBSCORE_UTYPE_PREFIXES)
    if declared_standard == "obscore" or "std/obscore" in table_utype or has_obscore_utype:
        return "obscore"
    if (table.schema, table.name) in {("ivoa", "obscore"), ("ivoa", "obscore_radio")}:
        return "obscore"
    return ""


def find_coordinate_frame(table: Table) -> str:
    """Return the frame of an EPN-TAP table's coordinates (its spatial_frame_type), by the UCD of the first one.

    Return an empty text if none is known.
    """
    ucd = ""
    for column in table.columns:
        if column.name.lower() == "c1min":
            ucd = (column.ucd or "").lower()
            break
    return next((name for part, name in UCD_FRAMES if ucd.startswith(part)), "")


def list_code_phrases(
    table: Table, column: Column, catalogues: Iterable[Mapping[str, str]]
) -> Mapping[str, tuple[str, ...]]:
    """Return all phrases of a column's codes: code -> its phrases in each language, the plural first.

    Parameters
    ----------
    table
        A table.
    column
        A column of it.
    catalogues
        Catalogues of the languages of the pages, English words of standards -> translation.
    """
    phrases_by_code: dict[str, tuple[str, ...]] = {}
    if column.enum and column.enum in table.enums:
        for code, word in table.enums[column.enum].items():
            translations = word.texts.values() if isinstance(word, LocalizedText) else ()
            phrases_by_code[code] = tuple(dict.fromkeys([word, *translations]))
        return phrases_by_code
    standard_name = find_label_standard(table, column)
    if not standard_name:
        return phrases_by_code
    all_catalogues = list(catalogues)
    codes = load_standard_labels()[standard_name].codes.get(column.name.lower(), {})
    for code, words in codes.items():
        phrases: list[str] = []
        for word in reversed(words):
            phrases += [word, *(catalogue.get(word, word) for catalogue in all_catalogues)]
        phrases_by_code[code] = tuple(dict.fromkeys(phrases))
    return phrases_by_code


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardLabels:
    """The English labels of a standard.

    Columns and pairs have one label, or three: of the pair and of its ends. They may differ by frame. Codes have one
    word, or two: the second is the plural.
    """

    columns: Mapping[str, tuple[str, ...]]
    frames: Mapping[str, Mapping[str, tuple[str, ...]]]
    codes: Mapping[str, Mapping[str, tuple[str, ...]]]

    def select_frame_labels(self, frame: str) -> Mapping[str, tuple[str, ...]]:
        """Return the labels of columns in a frame."""
        if frame in self.frames:
            return {**self.columns, **self.frames[frame]}
        return self.columns

    def list_label_texts(self) -> set[str]:
        """Return all labels and words, as keys of catalogues."""
        label_groups = (self.columns, *self.frames.values(), *self.codes.values())
        all_words = [words for label_group in label_groups for words in label_group.values()]
        return {text for words in all_words for text in words}


@cache
def load_standard_labels() -> Mapping[str, StandardLabels]:
    """Read the labels of all standards."""
    file = Path(__file__).with_name("column_labels.toml")
    definitions = tomllib.loads(file.read_text(encoding="utf-8"))
    standard_labels = {}
    for name, definition in definitions.items():
        frames = definition.get("frames", {})
        standard_labels[name] = StandardLabels(
            columns=_normalize_labels(definition["columns"]),
            frames={frame: _normalize_labels(words) for frame, words in frames.items()},
            codes={column: _normalize_labels(words) for column, words in definition["codes"].items()},
        )
    return standard_labels


def _normalize_labels(words: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: (labels,) if isinstance(labels, str) else tuple(labels) for name, labels in words.items()}
