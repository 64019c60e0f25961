"""Check an OIFITS file against the rules of `oifits_rules`.

One cause has one finding: a fault that can be repaired is reported by its repair rule alone, and a reference to a table
that is missing by the rule of the reference alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import SourceError, format_message
from hven.plugins.interferometry.oifits_rules import JMMC_PROFILE, find_severity
from hven.plugins.interferometry.oifits_standard import (
    DATA_TABLES,
    MAIN_HEADER,
    OIFITS_1,
    OIFITS_2,
    TABLES_OF_OIFITS_2,
    build_standard_tables,
    is_same_unit,
    resolve_column_alias,
)
from hven.plugins.interferometry.oifits_tables import read_oifits_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from hven.plugins.interferometry.oifits_standard import StandardField, StandardTable
    from hven.plugins.interferometry.oifits_tables import OifitsColumn, OifitsHdu

MIN_YEAR, MAX_YEAR = 1933, 2150
MIN_MJD, MAX_MJD = 27_073.5, 106_332.5  # these years
MIN_WAVELENGTH, MAX_WAVELENGTH = np.float32(0.1e-6), np.float32(20e-6)  # metres
EARTH_RADIUS = 6.35e6  # metres; the smallest
ARRAY_POSITIONS = {  # geocentric, in metres
    "VLTI": (1942014.1545180853, -5455311.818167002, -2654530.4375114734),
    "CHARA": (-2476998.047780274, -4647390.089884061, 3582240.6122966344),
}
MAX_LISTED_ROWS = 10
MAX_INDICES = 2_000_000  # of correlations, which are expanded to all channels
UNDEFINED_INTEGER = -32_768  # of a number that a program did not set
_MULTIPLE_KEYWORDS = ("OBSERVER", "REFERENC", "PROG_ID", "PROCSOFT", "OBSTECH")
_REQUIRED_FITS_CARDS = {"SIMPLE", "BITPIX", "NAXIS", "EXTEND"}
_KEYWORD_TYPES: dict[str, tuple[type, ...]] = {"A": (str,), "J": (int,), "D": (int, float)}
_TYPE_WORDS = {
    "A": format_message("a string"),
    "J": format_message("a whole number"),
    "D": format_message("a number"),
}
_CORRELATION_RULES = {
    "OI_VIS": "OI_VIS_CORRINDX",
    "OI_VIS2": "OI_VIS2_CORRINDX",
    "OI_T3": "OI_T3_CORRINDX",
    "OI_FLUX": "OI_FLUX_CORRINDX",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OifitsFinding:
    """A rule that a table of a file breaks.

    Attributes
    ----------
    rule
        Name of the rule.
    severity
        Severity in the profile.
    table
        The table and its number in the file, such as ``OI_VIS2#4``; empty: the file.
    member
        The keyword or column; empty: the whole table.
    message
        What is wrong.
    count
        Number of values that break it.
    rows
        The first of their rows, from 1.
    """

    rule: str
    severity: str
    table: str = ""
    member: str = ""
    message: str
    count: int = 1
    rows: Sequence[int] = ()


@dataclass(slots=True)
class OifitsReport:
    """The report on a file.

    Attributes
    ----------
    version
        Version of OIFITS; 0: the file cannot be read.
    findings
        What is wrong, in the order of the file.
    """

    version: int = 0
    findings: list[OifitsFinding] = field(default_factory=list)

    def count_findings(self) -> dict[str, int]:
        """Count the findings of each severity."""
        return dict(Counter(finding.severity for finding in self.findings))


def check_oifits_file(path: Path, profile: str = JMMC_PROFILE, version: int = 0) -> OifitsReport:
    """Check a file.

    Parameters
    ----------
    path
        The file, which may be compressed by gzip.
    profile
        One of `PROFILES`.
    version
        Version by which it is checked; 0: the one that it states.
    """
    check = _FileCheck(profile)
    try:
        hdus = read_oifits_tables(path)
    except FileNotFoundError:
        check.add_finding("FILE_EXIST", None, message=format_message("there is no file {name}", path.name))
    except SourceError as error:
        check.add_finding("FILE_LOAD", None, message=format_message("the file cannot be read: {reason}", error.message))
    except OSError as error:
        check.add_finding(
            "FILE_LOAD", None, message=format_message("the file cannot be read: {reason}", error.strerror)
        )
    else:
        check.check_file(hdus, version)
    return check.report


def find_expected_revision(hdu: OifitsHdu, version: int) -> int:
    """Return the revision that a table has in a version of OIFITS.

    Parameters
    ----------
    hdu
        The table.
    version
        Version of OIFITS.
    """
    if hdu.kind in TABLES_OF_OIFITS_2:
        return OIFITS_1
    return version


def find_unflagged_nonpositive_errors(hdu: OifitsHdu, name: str) -> Any:
    """Find the errors without a flag that are neither positive nor NaN: a mask of the cells.

    Parameters
    ----------
    hdu
        A table of data.
    name
        A column of errors.
    """
    errors, flags = hdu.find_column_values(name), hdu.find_column_values("FLAG")
    with np.errstate(invalid="ignore"):
        wrong_cells = ~(np.isnan(errors) | (np.isfinite(errors) & (errors > 0)))
    if flags is not None and flags.shape == errors.shape:
        wrong_cells &= flags != b"T"
    return wrong_cells


class _FileCheck:
    """The check of one file: its tables by name, and what is found in them."""

    def __init__(self, profile: str) -> None:
        self.profile = profile
        self.report = OifitsReport()
        self.arrays: dict[str, OifitsHdu] = {}
        self.wavelengths: dict[str, OifitsHdu] = {}
        self.correlations: dict[str, OifitsHdu] = {}
        self.remaining_indices = MAX_INDICES
        self.target_ids: Any = None

    def add_finding(
        self, rule: str, hdu: OifitsHdu | None, member: str = "", *, message: str, rows: Any = None, count: int = 1
    ) -> None:
        """Add a finding; `rows` is a mask of the rows that break the rule."""
        listed_rows: list[int] = []
        if rows is not None:
            indices = np.flatnonzero(rows)
            count = len(indices)
            listed_rows = [int(index) + 1 for index in indices[:MAX_LISTED_ROWS]]
        kind = "" if hdu is None else hdu.kind
        finding = OifitsFinding(
            rule=rule,
            severity=find_severity(self.profile, rule, kind, member, self.report.version),
            table="" if hdu is None else hdu.label,
            member=member,
            message=format_message(message),
            count=count,
            rows=listed_rows,
        )
        self.report.findings.append(finding)

    def _add_row_finding(self, rule: str, hdu: OifitsHdu, member: str, mask: Any, message: str) -> None:
        """Add a finding if a mask names any row."""
        if mask.any():
            self.add_finding(rule, hdu, member, message=message, rows=mask)

    @property
    def _is_version_2(self) -> bool:
        return self.report.version == OIFITS_2

    # --- the file ---------------------------------------------------------------------------------------------------

    def check_file(self, hdus: Sequence[OifitsHdu], version: int) -> None:
        """Check all tables of a file."""
        content = hdus[0].find_keyword_text("CONTENT") or ""
        self.report.version = version or (OIFITS_2 if content == "OIFITS2" else OIFITS_1)
        standard_tables = build_standard_tables(self.report.version)
        tables = [hdu for hdu in hdus[1:] if hdu.kind in standard_tables]
        self.arrays = self._index_tables(tables, "OI_ARRAY", "ARRNAME")
        self.wavelengths = self._index_tables(tables, "OI_WAVELENGTH", "INSNAME")
        self.correlations = self._index_tables(tables, "OI_CORR", "CORRNAME")
        target_tables = [hdu for hdu in tables if hdu.kind == "OI_TARGET"]
        for hdu in target_tables:
            self.target_ids = _list_first_integers(hdu, "TARGET_ID")
        self._check_table_presence(tables, len(target_tables))
        if self._is_version_2:
            self._check_main_header(hdus[0], tables, standard_tables[MAIN_HEADER])
        for hdu in hdus[1:]:
            standard_table = standard_tables.get(hdu.kind)
            if standard_table is None:
                self.add_finding("UNKNOWN_TABLE", hdu, message="the table is not part of the standard")
                continue
            if not self._is_version_2 and hdu.kind in TABLES_OF_OIFITS_2:
                self.add_finding("OIFITS_TABLE_NOT_V2", hdu, message="OIFITS 1 has no such table")
            self._check_keywords(hdu, standard_table)
            self._check_revision(hdu)
            self._report_unknown_columns(hdu, standard_table)
            _resolve_column_aliases(hdu)
            self._check_columns(hdu, standard_table)
            self._check_table_values(hdu)
        self._check_inspol_names([hdu for hdu in tables if hdu.kind == "OI_INSPOL"])
        self._check_inspol_times(tables)
        self._check_correlation_indices(tables)

    def _index_tables(self, tables: Iterable[OifitsHdu], kind: str, key: str) -> dict[str, OifitsHdu]:
        """Index the tables of a kind by their names, and report names that occur twice and blank names."""
        tables_by_name: dict[str, OifitsHdu] = {}
        unique_rule = f"{key}_UNIQ"
        for hdu in tables:
            name = hdu.find_keyword_text(key)
            if hdu.kind != kind or name is None:
                continue
            first_hdu = tables_by_name.setdefault(name, hdu)
            if not name:
                self.add_finding(f"{kind}_{key}", hdu, key, message=format_message("{key} is blank", key))
            elif first_hdu is not hdu:
                message = format_message("{key} = {name!r:.80} is also the name of {table}", key, name, first_hdu.label)
                self.add_finding(unique_rule, hdu, key, message=message)
        return tables_by_name

    def _check_table_presence(self, tables: Sequence[OifitsHdu], target_table_count: int) -> None:
        kinds = {hdu.kind for hdu in tables}
        if target_table_count != 1:
            message = format_message("the file has {count} OI_TARGET tables instead of one", target_table_count)
            self.add_finding("OIFITS_OI_TARGET_EXIST", None, message=message)
        if "OI_WAVELENGTH" not in kinds:
            self.add_finding("OIFITS_OI_WAVELENGTH_EXIST", None, message="the file has no OI_WAVELENGTH")
        if self._is_version_2 and "OI_ARRAY" not in kinds:
            self.add_finding("OIFITS_OI_ARRAY_EXIST_V2", None, message="the file has no OI_ARRAY")
        if kinds.isdisjoint(DATA_TABLES):
            message = format_message("the file has no data: no OI_VIS, OI_VIS2, OI_T3 or OI_FLUX")
            self.add_finding("OIFITS_OIDATA", None, message=message)

    def _check_main_header(self, primary: OifitsHdu, tables: Sequence[OifitsHdu], standard: StandardTable) -> None:
        own_keys = {key for key in primary.header.card_values if not key.startswith("NAXIS")} - _REQUIRED_FITS_CARDS
        if not own_keys:
            message = "the primary header has no keywords that describe the file"
            self.add_finding("OIFITS_MAIN_HEADER_EXIST_V2", None, message=message)
            return
        self._check_keywords(primary, standard)
        self._check_date(primary)
        for key in ("MJD-OBS", "MJD-END"):
            value = primary.header.card_values.get(key)
            if isinstance(value, int | float) and not MIN_MJD <= value <= MAX_MJD:
                message = format_message("{value} is not between {low} and {high}", value, MIN_MJD, MAX_MJD)
                self.add_finding("GENERIC_MJD_RANGE", primary, key, message=message)
        data_tables = [hdu for hdu in tables if hdu.kind in DATA_TABLES]
        array_names = {hdu.find_keyword_text("ARRNAME") for hdu in data_tables} - {None}
        instrument = primary.find_keyword_text("INSTRUME") or "\0"
        mode_names = {hdu.find_keyword_text("INSNAME") or "" for hdu in data_tables}
        is_one_instrument = len(mode_names) < 2 or all(name.startswith(instrument) for name in mode_names)
        target_count = 0
        if self.target_ids is not None:
            target_count = len(np.unique(self.target_ids))
        keys: list[str] = []
        if len(array_names) > 1:
            keys.append("TELESCOP")
        if not is_one_instrument:
            keys += ("INSTRUME", "INSMODE")
        if target_count > 1:
            keys.append("OBJECT")
        if keys:
            keys += _MULTIPLE_KEYWORDS
        for key in keys:
            text = primary.find_keyword_text(key)
            if text is not None and not text.startswith("MULTI"):
                message = format_message(
                    "{key} = {text!r:.80}, but the file has several observations: write MULTI", key, text
                )
                self.add_finding("MAIN_HEADER_TYPE_MULTI", primary, key, message=message)

    # --- keywords and columns ---------------------------------------------------------------------------------------

    def _check_keywords(self, hdu: OifitsHdu, standard: StandardTable) -> None:
        for name, keyword in standard.keywords.items():
            value = hdu.header.card_values.get(name)
            if value is None:
                if not keyword.optional:
                    self.add_finding(
                        "GENERIC_KEYWORD_MANDATORY", hdu, name, message=format_message("{name} is missing", name)
                    )
            elif isinstance(value, bool) or not isinstance(value, _KEYWORD_TYPES[keyword.code]):
                message = format_message("{name} = {value!r:.80} is not {type}", name, value, _TYPE_WORDS[keyword.code])
                self.add_finding("GENERIC_KEYWORD_FORMAT", hdu, name, message=message)
            elif keyword.choices and str(value).strip() not in keyword.choices:
                message = format_message(
                    "{name} = {value!r:.80} is not one of {choices}", name, value, ", ".join(keyword.choices)
                )
                self.add_finding("GENERIC_KEYWORD_VAL_ACCEPTED_STR", hdu, name, message=message)
        for key, tables, rule in (
            ("ARRNAME", self.arrays, "ARRNAME_REF"),
            ("INSNAME", self.wavelengths, "INSNAME_REF"),
            ("CORRNAME", self.correlations, "CORRNAME_REF"),
        ):
            table_name = None
            if key in standard.keywords:
                table_name = hdu.find_keyword_text(key)
            is_missing_reported = not tables and (key == "INSNAME" or (key == "ARRNAME" and self._is_version_2))
            if table_name is not None and table_name not in tables and not is_missing_reported:
                message = format_message(
                    "{key} = {name!r:.80}, but the file has no table of this name", key, table_name
                )
                self.add_finding(rule, hdu, key, message=message)

    def _check_revision(self, hdu: OifitsHdu) -> None:
        """Check OI_REVN: a revision of the other version can be repaired, other numbers are wrong."""
        revision = hdu.header.card_values.get("OI_REVN")
        expected = find_expected_revision(hdu, self.report.version)
        if revision is None:
            self.add_finding("GENERIC_KEYWORD_MANDATORY", hdu, "OI_REVN", message="OI_REVN is missing")
        elif isinstance(revision, bool) or not isinstance(revision, int):
            message = format_message("OI_REVN = {revision!r:.80} is not a whole number", revision)
            self.add_finding("GENERIC_KEYWORD_FORMAT", hdu, "OI_REVN", message=message)
        elif revision not in {OIFITS_1, OIFITS_2}:
            message = format_message("OI_REVN = {revision}, but the standard requires {expected}", revision, expected)
            self.add_finding("GENERIC_KEYWORD_VAL_ACCEPTED_INT", hdu, "OI_REVN", message=message)
        elif revision != expected:
            message = format_message(
                "OI_REVN = {revision}, but this version of OIFITS requires {expected}", revision, expected
            )
            self.add_finding("GENERIC_OIREV_FIX", hdu, "OI_REVN", message=message)

    def _report_unknown_columns(self, hdu: OifitsHdu, standard: StandardTable) -> None:
        for name, column in hdu.columns.items():
            if standard.find_column(resolve_column_alias(hdu.kind, name)) is None:
                message = format_message(
                    "column {name} ({width}{code}) is not part of the standard", name, column.repeat, column.code
                )
                self.add_finding("UNKNOWN_COLUMN", hdu, name, message=message)

    def _check_columns(self, hdu: OifitsHdu, standard: StandardTable) -> None:
        """Check the columns of the standard: those that must be present, and the type, width and unit of each."""
        channel_count = self._count_channels(hdu)
        for name, standard_column in standard.columns.items():
            found_column = hdu.columns.get(name)
            if found_column is not None:
                self._check_column(hdu, found_column, standard_column, channel_count)
            elif not standard_column.optional:
                self.add_finding(
                    "GENERIC_COL_MANDATORY", hdu, name, message=format_message("column {name} is missing", name)
                )

    def _count_channels(self, hdu: OifitsHdu) -> int | None:
        """Return the number of channels of a table; None: it is unknown."""
        mode_names = [hdu.find_keyword_text("INSNAME") or ""]
        if hdu.kind == "OI_INSPOL" and hdu.find_column_values("INSNAME") is not None:
            mode_names = list(hdu.find_column_values("INSNAME"))
        counts = {self.wavelengths[name].row_count for name in mode_names if name in self.wavelengths}
        if len(counts) == 1:
            return counts.pop()
        return None

    def _check_column(
        self, hdu: OifitsHdu, column: OifitsColumn, standard_column: StandardField, channel_count: int | None
    ) -> None:
        name = standard_column.name
        if not column.is_within_row:
            message = format_message(
                "column {name} extends beyond the {count} bytes of a row", name, hdu.header.read_integer("NAXIS1")
            )
            self.add_finding("GENERIC_COL_NBROWS", hdu, name, message=message)
            return
        if column.code and not column.repeat:
            self.add_finding(
                "GENERIC_COL_DIM", hdu, name, message=format_message("cells of column {name} have no values", name)
            )
            column.values = None
            return
        expected_width = standard_column.width
        if expected_width <= 0:
            expected_width = (channel_count or 0) ** (1 - expected_width)
        is_text = standard_column.code == "A"
        width = column.repeat
        if is_text and column.code == "A" and column.values is not None and hdu.row_count:
            width = int(np.char.str_len(column.values).max())
        is_short_text = is_text and width < expected_width
        has_right_width = is_short_text or expected_width in {0, width}
        if column.code != standard_column.code or not has_right_width:
            expected_format = f"{expected_width or ''}{standard_column.code}"
            message = format_message(
                "column {name} has the format {width}{code} instead of {expected}",
                name,
                column.repeat,
                column.code,
                expected_format,
            )
            self.add_finding("GENERIC_COL_FORMAT", hdu, name, message=message)
            if column.code not in {"I", "J", "K", "E", "D"} or is_text or not has_right_width:
                column.values = None  # values that nobody can compare
        self._check_unit(hdu, column, standard_column)
        if column.values is None:
            return
        if standard_column.choices:
            mask = ~np.isin(column.values, standard_column.choices)
            self._add_choice_finding(hdu, column, standard_column, mask)
        elif standard_column.positive:
            values = column.list_first_values()
            with np.errstate(invalid="ignore"):
                mask = ~(np.isnan(values) | (np.isfinite(values) & (values > 0)))
            message = format_message("values of column {name} must be finite and positive", name)
            self._add_row_finding("GENERIC_COL_VAL_POSITIVE", hdu, name, mask, message)

    def _add_choice_finding(
        self, hdu: OifitsHdu, column: OifitsColumn, standard_column: StandardField, mask: Any
    ) -> None:
        if mask.any():
            words = ", ".join(repr(str(word))[:40] for word in np.unique(column.values[mask])[:3])
            choices = ", ".join(standard_column.choices)
            message = format_message(
                "column {column} contains {words}; the allowed values are {choices}",
                standard_column.name,
                words,
                choices,
            )
            self.add_finding("GENERIC_COL_VAL_ACCEPTED_STR", hdu, standard_column.name, message=message, rows=mask)

    def _check_unit(self, hdu: OifitsHdu, column: OifitsColumn, standard_column: StandardField) -> None:
        unit, expected_unit, name = column.unit, standard_column.unit, standard_column.name
        if expected_unit == "any":
            is_flux = hdu.find_keyword_text("CALSTAT") == "C" or hdu.find_keyword_text("AMPTYP") == "correlated flux"
            if is_flux and not unit:
                self.add_finding(
                    "GENERIC_COL_UNIT_EXIST", hdu, name, message=format_message("column {name} states no unit", name)
                )
        elif expected_unit and not unit:
            message = format_message("column {name} states no unit; it should be {unit}", name, expected_unit)
            self.add_finding("GENERIC_COL_UNIT_EXIST", hdu, name, message=message)
        elif unit and not (expected_unit and is_same_unit(unit, expected_unit)):
            message = format_message(
                "column {name} has the unit {unit!r:.40} instead of {expected}",
                name,
                unit,
                expected_unit or format_message("none"),
            )
            self.add_finding("GENERIC_COL_UNIT", hdu, name, message=message)

    # --- values of tables -------------------------------------------------------------------------------------------

    def _check_table_values(self, hdu: OifitsHdu) -> None:
        if hdu.kind == "OI_TARGET":
            self._check_targets(hdu)
        elif hdu.kind == "OI_ARRAY":
            self._check_stations(hdu)
            self._check_array_position(hdu)
        elif hdu.kind == "OI_WAVELENGTH":
            waves = hdu.find_column_values("EFF_WAVE")
            if waves is not None:
                mask = (waves[:, 0] < MIN_WAVELENGTH) | (waves[:, 0] > MAX_WAVELENGTH)
                message = "wavelengths are not between 0.1 and 20 micrometres"
                self._add_row_finding("OI_WAVELENGTH_EFF_WAVE", hdu, "EFF_WAVE", mask, message)
        elif hdu.kind == "OI_CORR":
            self._check_correlations(hdu)
        elif hdu.kind == "OI_INSPOL":
            self._check_row_references(hdu)
            self._check_polarisation(hdu)
        else:
            self._check_data_table(hdu)

    def _check_targets(self, hdu: OifitsHdu) -> None:
        if not hdu.row_count:
            self.add_finding("OI_TARGET_TARGET_EXIST", hdu, message="the table has no target")
            return
        ra, dec = hdu.find_column_values("RAEP0"), hdu.find_column_values("DECEP0")
        if ra is not None and dec is not None:
            ra, dec = ra[:, 0], dec[:, 0]
            mask = np.isnan(ra) | np.isnan(dec)
            self._add_row_finding("OI_TARGET_COORD_EXIST", hdu, "RAEP0", mask, "targets have no coordinates")
            mask = (np.abs(ra) < 1e-9) & (np.abs(dec) < 1e-9)
            self._add_row_finding("OI_TARGET_COORD", hdu, "RAEP0", mask, "the coordinates of targets are 0, 0")
        names = hdu.find_column_values("TARGET")
        if names is not None:
            self._add_row_finding("OI_TARGET_TARGET", hdu, "TARGET", names == "", "targets have no name")
            self._add_repeated_value_finding("OI_TARGET_TARGET_UNIQ", hdu, "TARGET", names)
        ids = _list_first_integers(hdu, "TARGET_ID")
        if ids is not None:
            self._add_row_finding("OI_TARGET_TARGETID_MIN", hdu, "TARGET_ID", ids < 1, "target numbers are below 1")
            self._add_repeated_value_finding("OI_TARGET_TARGETID_UNIQ", hdu, "TARGET_ID", ids)

    def _check_stations(self, hdu: OifitsHdu) -> None:
        names = hdu.find_column_values("STA_NAME")
        if names is not None:
            self._add_row_finding("OI_ARRAY_STA_NAME", hdu, "STA_NAME", names == "", "stations have no name")
            self._add_repeated_value_finding("OI_ARRAY_STA_NAME_UNIQ", hdu, "STA_NAME", names)
        indices = _list_first_integers(hdu, "STA_INDEX")
        if indices is not None:
            message = "station numbers are below 1"
            self._add_row_finding("OI_ARRAY_STA_INDEX_MIN", hdu, "STA_INDEX", indices < 1, message)
            self._add_repeated_value_finding("OI_ARRAY_STA_INDEX_UNIQ", hdu, "STA_INDEX", indices)

    def _add_repeated_value_finding(self, rule: str, hdu: OifitsHdu, member: str, values: Any) -> None:
        """Report values that other rows have, too; blank texts do not count."""
        unique_values, counts = np.unique(values, return_counts=True)
        repeated = [value for value, count in zip(unique_values, counts, strict=True) if count > 1 and value != ""]
        if repeated:
            words = ", ".join(str(value)[:40] for value in repeated[:3])
            message = format_message("column {column} contains {words} more than once", member, words)
            self.add_finding(rule, hdu, member, message=message, rows=np.isin(values, repeated))

    def _check_array_position(self, hdu: OifitsHdu) -> None:
        values = [hdu.header.card_values.get(key) for key in ("ARRAYX", "ARRAYY", "ARRAYZ")]
        position = [float(value) for value in values if isinstance(value, int | float)]
        if (hdu.find_keyword_text("FRAME") or "").upper() != "GEOCENTRIC" or len(position) < 3:
            return
        if np.linalg.norm(position) > EARTH_RADIUS:
            return
        text = ", ".join(f"{value:g}" for value in position)
        array_name = hdu.find_keyword_text("ARRNAME") or ""
        known_name = next((name for name in ARRAY_POSITIONS if array_name.startswith(name)), "")
        if known_name:
            message = format_message("the array lies at {text}, which is not the position of {array}", text, known_name)
            self.add_finding("OI_ARRAY_XYZ_FIX", hdu, "ARRAYX", message=message)
        else:
            message = format_message("the array lies at {text}, which is not on the surface of the earth", text)
            self.add_finding("OI_ARRAY_XYZ", hdu, "ARRAYX", message=message)

    def _check_correlations(self, hdu: OifitsHdu) -> None:
        first, second = _list_first_integers(hdu, "IINDX"), _list_first_integers(hdu, "JINDX")
        if first is None or second is None:
            return
        size = hdu.header.read_integer("NDATA")
        self._add_row_finding("OI_CORR_IINDEX_MIN", hdu, "IINDX", first < 1, "indices are below 1")
        self._add_row_finding("OI_CORR_JINDEX_SUP", hdu, "JINDX", second <= first, "JINDX is not larger than IINDX")
        mask = (first > size) | (second > size)
        self._add_row_finding(
            "OI_CORR_IJINDEX_MAX", hdu, "JINDX", mask, format_message("indices are larger than NDATA = {size}", size)
        )

    def _check_polarisation(self, hdu: OifitsHdu) -> None:
        mode_names = hdu.find_column_values("INSNAME")
        if mode_names is not None and self.wavelengths:
            mask = ~np.isin(mode_names, list(self.wavelengths))
            message = "the column refers to OI_WAVELENGTH tables that the file does not have"
            self._add_row_finding("GENERIC_COL_VAL_ACCEPTED_STR", hdu, "INSNAME", mask, message)
        begin, end = hdu.find_column_values("MJD_OBS"), hdu.find_column_values("MJD_END")
        if begin is not None and end is not None:
            mask = begin[:, 0] > end[:, 0]
            self._add_row_finding("OI_INSPOL_MJD_DIFF", hdu, "MJD_OBS", mask, "MJD_OBS is after MJD_END")

    def _check_row_references(self, hdu: OifitsHdu) -> None:
        """Check the numbers of targets and stations in a table."""
        ids = _list_first_integers(hdu, "TARGET_ID")
        if ids is not None and self.target_ids is not None:
            mask = ~np.isin(ids, self.target_ids) & (ids != UNDEFINED_INTEGER)
            message = "the column has numbers that are not in OI_TARGET"
            self._add_row_finding("GENERIC_COL_VAL_ACCEPTED_INT", hdu, "TARGET_ID", mask, message)
        array_table = self.arrays.get(hdu.find_keyword_text("ARRNAME") or "\0")
        stations = hdu.find_column_values("STA_INDEX")
        if stations is not None and array_table is not None:
            known_stations = _list_first_integers(array_table, "STA_INDEX")
            if known_stations is not None:
                mask = (~np.isin(stations, known_stations) & (stations != UNDEFINED_INTEGER)).any(axis=1)
                message = format_message("the column has numbers that are not in {table}", array_table.label)
                self._add_row_finding("GENERIC_COL_VAL_ACCEPTED_INT", hdu, "STA_INDEX", mask, message)

    def _check_data_table(self, hdu: OifitsHdu) -> None:
        self._check_row_references(hdu)
        self._check_date(hdu)
        times = hdu.find_column_values("MJD")
        if times is not None:
            mask = (times[:, 0] < MIN_MJD) | (times[:, 0] > MAX_MJD)
            message = format_message("times are not between {low} and {high}", MIN_MJD, MAX_MJD)
            self._add_row_finding("GENERIC_MJD_RANGE", hdu, "MJD", mask, message)
        stations = hdu.find_column_values("STA_INDEX")
        if stations is not None and stations.shape[1] > 1:
            ordered = np.sort(stations, axis=1)
            mask = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
            message = format_message("rows have the same station twice")
            self._add_row_finding("GENERIC_STA_INDEX_UNIQ", hdu, "STA_INDEX", mask, message)
        for name in hdu.columns:
            errors = None
            if name.endswith("ERR"):
                errors = hdu.find_column_values(name)
            if errors is not None and errors.dtype.kind == "f":
                wrong_cells = find_unflagged_nonpositive_errors(hdu, name)
                message = format_message(
                    "{count} unflagged values of column {name} are not positive", int(wrong_cells.sum()), name
                )
                self._add_row_finding("GENERIC_COL_ERR_FIX", hdu, name, wrong_cells.any(axis=1), message)

    def _check_date(self, hdu: OifitsHdu) -> None:
        text = hdu.header.card_values.get("DATE-OBS")
        if not isinstance(text, str):
            return
        try:
            day = date.fromisoformat(text[:10])
        except ValueError:
            message = format_message("DATE-OBS = {text!r:.40} does not begin with YYYY-MM-DD", text)
            self.add_finding("GENERIC_DATE_OBS_STANDARD", hdu, "DATE-OBS", message=message)
            return
        if not MIN_YEAR <= day.year <= MAX_YEAR:
            message = format_message(
                "DATE-OBS = {text!r:.40} is not between {low} and {high}", text, MIN_YEAR, MAX_YEAR
            )
            self.add_finding("GENERIC_DATE_OBS_RANGE", hdu, "DATE-OBS", message=message)

    # --- several tables ---------------------------------------------------------------------------------------------

    def _check_inspol_names(self, inspol_tables: Sequence[OifitsHdu]) -> None:
        first_tables: dict[str, OifitsHdu] = {}
        for hdu in inspol_tables:
            mode_names = hdu.find_column_values("INSNAME")
            for name in () if mode_names is None else np.unique(mode_names):
                first_hdu = first_tables.setdefault(str(name), hdu)
                if first_hdu is not hdu:
                    message = format_message("{table} also describes {name!r:.80}", first_hdu.label, str(name))
                    self.add_finding("OI_INSPOL_INSNAME_UNIQ", hdu, "INSNAME", message=message)

    def _check_inspol_times(self, tables: Sequence[OifitsHdu]) -> None:
        """Check that the polarisation of a mode is known at the times of its data."""
        for inspol in tables:
            columns = [inspol.find_column_values(name) for name in ("INSNAME", "MJD_OBS", "MJD_END")]
            if inspol.kind != "OI_INSPOL" or any(column is None for column in columns):
                continue
            mode_names, begin, end = columns
            for hdu in tables:
                times = hdu.find_column_values("MJD")
                is_same_mode = mode_names == (hdu.find_keyword_text("INSNAME") or "\0")
                if hdu.kind not in DATA_TABLES or times is None or not is_same_mode.any():
                    continue
                is_covered = np.zeros(len(times), np.bool_)
                for first_time, last_time in zip(begin[is_same_mode, 0], end[is_same_mode, 0], strict=True):
                    is_covered |= (times[:, 0] >= first_time) & (times[:, 0] <= last_time)
                message = format_message("{table} does not cover these times", inspol.label)
                self._add_row_finding("OI_INSPOL_MJD_RANGE", hdu, "MJD", ~is_covered, message)

    def _check_correlation_indices(self, tables: Sequence[OifitsHdu]) -> None:
        """Check the indices of correlations of all data that share an OI_CORR."""
        used_indices: dict[str, set[int]] = {}
        for hdu in tables:
            names = [name for name in hdu.columns if name.startswith("CORRINDX_")]
            if hdu.kind not in DATA_TABLES or not names:
                continue
            correlation_name = hdu.find_keyword_text("CORRNAME")
            if correlation_name is None:
                for name in names:
                    message = format_message("the table has {name}, but does not name an OI_CORR", name)
                    self.add_finding(_CORRELATION_RULES[hdu.kind], hdu, name, message=message)
            elif correlation_name in self.correlations:
                size = self.correlations[correlation_name].header.read_integer("NDATA")
                used = used_indices.setdefault(correlation_name, set())
                for name in names:
                    self._check_index_column(hdu, name, size, used)

    def _check_index_column(self, hdu: OifitsHdu, name: str, size: int, used_indices: set[int]) -> None:
        indices = _list_first_integers(hdu, name)
        if indices is None:
            return
        self._add_row_finding("GENERIC_CORRINDX_MIN", hdu, name, indices < 1, "indices are below 1")
        self._add_row_finding(
            "GENERIC_CORRINDX_MAX",
            hdu,
            name,
            indices > size,
            format_message("indices are larger than NDATA = {size}", size),
        )
        channel_count = self._count_channels(hdu) or 1
        self.remaining_indices -= len(indices) * channel_count
        if self.remaining_indices < 0:
            message = format_message("the file has more than {most:,} indices of correlations", MAX_INDICES)
            self.add_finding("FILE_LOAD", hdu, name, message=message)
            return
        ranges = indices.astype(np.int64)[:, np.newaxis] + np.arange(channel_count)
        values, first_places = np.unique(ranges, return_index=True)
        is_repeated = np.ones(ranges.size, np.bool_)
        is_repeated[first_places] = False
        if used_indices:
            is_used = np.isin(ranges, list(used_indices))
        else:
            is_used = np.zeros(ranges.shape, np.bool_)
        mask = (is_repeated.reshape(ranges.shape) | is_used).any(axis=1)
        self._add_row_finding("GENERIC_CORRINDX_UNIQ", hdu, name, mask, "indices are used more than once")
        used_indices.update(values.tolist())


def _list_first_integers(hdu: OifitsHdu, name: str) -> Any:
    """Return the first value of each cell of a column of whole numbers; None: there are none."""
    values = hdu.find_column_values(name)
    if values is None or values.dtype.kind != "i":
        return None
    return values[:, 0]


def _resolve_column_aliases(hdu: OifitsHdu) -> None:
    """Rename the columns of a table to their names in the standard."""
    columns: dict[str, OifitsColumn] = {}
    for name, column in hdu.columns.items():
        columns.setdefault(resolve_column_alias(hdu.kind, name), column)
    hdu.columns = columns
