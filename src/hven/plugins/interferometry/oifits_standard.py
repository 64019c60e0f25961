"""Keywords and columns of OIFITS 1 (Pauls et al. 2005) and OIFITS 2 (Duvert et al. 2017), for `oifits_checker`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

OIFITS_1, OIFITS_2 = 1, 2
MAIN_HEADER = "MAIN_HEADER"  # the primary header, which OIFITS 2 describes
DATA_TABLES = ("OI_VIS", "OI_VIS2", "OI_T3", "OI_FLUX")
TABLES_OF_OIFITS_2 = ("OI_CORR", "OI_INSPOL", "OI_FLUX")
# other ways to write a unit; the first word of each line is the one of the standard
UNIT_SPELLINGS = {
    "m": {"m", "meter", "meters"},
    "deg": {"deg", "degree", "degrees"},
    "s": {"s", "sec", "second", "seconds"},
    "d": {"d", "day", "days"},
    "yr": {"yr", "year", "years"},
    "m/s": {"m/s", "meterpersecond", "meterspersecond", "meter/second", "meters/second"},
    "arcsec": {"arcsec", "as", "arcsecond", "arcseconds"},
    "deg/yr": {f"{degree}/{year}" for degree in ("deg", "degree", "degrees") for year in ("yr", "year")},
}
_VELOCITY_TYPES = "LSR,HELIOCEN,BARYCENT,GEOCENTR,TOPOCENT,UNKNOWN"

# each line: what it is, name, type, unit, notes. Types: A text, I int16, J int32, E float32, D float64, L logical,
# C complex; the number before is the width, w the channels, ww their square. Notes: `?` optional, `2` only in
# OIFITS 2, `+` finite and positive, `=a,b` the possible values
_STANDARD_TEXT = f"""
MAIN_HEADER 2
  key ORIGIN A -
  key DATE A -
  key DATE-OBS A - ?
  key CONTENT A -
  key TELESCOP A -
  key INSTRUME A -
  key OBSERVER A -
  key INSMODE A -
  key OBJECT A -
  key REFERENC A - ?
  key PROG_ID A - ?
  key PROCSOFT A - ?
  key OBSTECH A - ?
  key AUTHOR A - ?
  key RA D - ?
  key DEC D - ?
  key EQUINOX D - ?
  key RADECSYS A - ?
  key SPECSYS A - ?
  key TEXPTIME D - ?
  key MJD-OBS D - ?
  key MJD-END D - ?
  key BASE_MIN D - ?
  key BASE_MAX D - ?
  key WAVELMIN D - ?
  key WAVELMAX D - ?
  key NUM_CHAN J - ?
  key SPEC_RES D - ?
  key VIS2ERR D - ?
  key VISPHERR D - ?
  key T3PHIERR D - ?
OI_TARGET
  col TARGET_ID I -
  col TARGET 16A -
  col RAEP0 D deg
  col DECEP0 D deg
  col EQUINOX E yr
  col RA_ERR D deg
  col DEC_ERR D deg
  col SYSVEL D m/s
  col VELTYP 8A - ={_VELOCITY_TYPES}
  col VELDEF 8A - =RADIO,OPTICAL
  col PMRA D deg/yr
  col PMDEC D deg/yr
  col PMRA_ERR D deg/yr
  col PMDEC_ERR D deg/yr
  col PARALLAX E deg
  col PARA_ERR E deg
  col SPECTYP 16A -
  col CATEGORY 3A - ? 2 =CAL,SCI
OI_ARRAY
  key ARRNAME A -
  key FRAME A - =GEOCENTRIC,SKY
  key ARRAYX D m
  key ARRAYY D m
  key ARRAYZ D m
  col TEL_NAME 16A -
  col STA_NAME 16A -
  col STA_INDEX I -
  col DIAMETER E m +
  col STAXYZ 3D m
  col FOV D arcsec + 2
  col FOVTYPE 6A - 2 =FWHM,RADIUS
OI_WAVELENGTH
  key INSNAME A -
  col EFF_WAVE E m
  col EFF_BAND E m +
OI_CORR 2
  key CORRNAME A -
  key NDATA J -
  col IINDX J -
  col JINDX J -
  col CORR D - +
OI_INSPOL 2
  key ARRNAME A - ?
  key NPOL J -
  key ORIENT A - =NORTH,LABORATORY
  key MODEL A -
  col TARGET_ID I -
  col INSNAME 70A -
  col MJD_OBS D d
  col MJD_END D d
  col JXX wC -
  col JYY wC -
  col JXY wC -
  col JYX wC -
  col STA_INDEX I -
OI_VIS2
  key ARRNAME A - ?
  key DATE-OBS A -
  key INSNAME A -
  key CORRNAME A - ? 2
  col TARGET_ID I -
  col TIME D s
  col MJD D d
  col INT_TIME D s +
  col VIS2DATA wD -
  col VIS2ERR wD -
  col UCOORD D m
  col VCOORD D m
  col STA_INDEX 2I -
  col FLAG wL -
  col CORRINDX_VIS2DATA J - ? 2
OI_VIS
  key ARRNAME A - ?
  key DATE-OBS A -
  key INSNAME A -
  key CORRNAME A - ? 2
  key AMPTYP A - ? 2 =absolute,differential,correlated_flux
  key PHITYP A - ? 2 =absolute,differential
  key AMPORDER J - ? 2
  key PHIORDER J - ? 2
  col TARGET_ID I -
  col TIME D s
  col MJD D d
  col INT_TIME D s +
  col VISAMP wD any
  col VISAMPERR wD any
  col VISPHI wD deg
  col VISPHIERR wD deg
  col UCOORD D m
  col VCOORD D m
  col STA_INDEX 2I -
  col FLAG wL -
  col CORRINDX_VISAMP J - ? 2
  col CORRINDX_VISPHI J - ? 2
  col VISREFMAP wwL - ? 2
  col RVIS wD any ? 2
  col RVISERR wD any ? 2
  col IVIS wD any ? 2
  col IVISERR wD any ? 2
  col CORRINDX_RVIS J - ? 2
  col CORRINDX_IVIS J - ? 2
OI_T3
  key ARRNAME A - ?
  key DATE-OBS A -
  key INSNAME A -
  key CORRNAME A - ? 2
  col TARGET_ID I -
  col TIME D s
  col MJD D d
  col INT_TIME D s +
  col T3AMP wD -
  col T3AMPERR wD -
  col T3PHI wD deg
  col T3PHIERR wD deg
  col U1COORD D m
  col V1COORD D m
  col U2COORD D m
  col V2COORD D m
  col STA_INDEX 3I -
  col FLAG wL -
  col CORRINDX_T3AMP J - ? 2
  col CORRINDX_T3PHI J - ? 2
OI_FLUX 2
  key ARRNAME A - ?
  key DATE-OBS A -
  key INSNAME A -
  key CORRNAME A - ?
  key CALSTAT A - =C,U
  key FOV D arcsec ?
  key FOVTYPE A - ? =FWHM,RADIUS
  col TARGET_ID I -
  col MJD D d
  col INT_TIME D s +
  col FLUXDATA wD any
  col FLUXERR wD any
  col STA_INDEX I - ?
  col FLAG wL -
  col CORRINDX_FLUXDATA J - ?
"""
_COLUMN_ALIASES = {("OI_FLUX", "FLUX"): "FLUXDATA"}
_FORMAT_PATTERN = re.compile(r"(\d*)(w*)([A-Z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardField:
    """A keyword or column of a table, as the standard defines it.

    Attributes
    ----------
    name
        Its name.
    code
        Letter of its type, as in TFORM.
    width
        Values in a cell; characters of a text. 0: one for each channel; -1: the square of the channels.
    unit
        Unit; empty: none; ``any``: chosen by the author of the file.
    optional
        Whether it may be missing.
    positive
        Whether values must be finite and positive.
    choices
        Possible values; empty: any.
    """

    name: str
    code: str
    width: int = 1
    unit: str = ""
    optional: bool = False
    positive: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StandardTable:
    """A table of the standard: its keywords and columns by name."""

    keywords: dict[str, StandardField]
    columns: dict[str, StandardField]

    def find_column(self, name: str) -> StandardField | None:
        """Find a column by its name."""
        return self.columns.get(name)


@cache
def build_standard_tables(version: int) -> dict[str, StandardTable]:
    """Build the tables of a version of OIFITS, by their names.

    Tables of OIFITS 2 are there in both versions, so that those of a file of OIFITS 1 can be checked.

    Parameters
    ----------
    version
        `OIFITS_1` or `OIFITS_2`.
    """
    tables: dict[str, StandardTable] = {}
    for line in _STANDARD_TEXT.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            table = tables[words[0]] = StandardTable({}, {})
            continue
        kind, name, form, unit, *notes = words
        if "2" in notes and version == OIFITS_1:
            continue
        standard_field = _build_field(name, form, unit, notes)
        if kind == "key":
            fields_by_name = table.keywords
        else:
            fields_by_name = table.columns
        fields_by_name[name] = standard_field
    if version == OIFITS_1:
        del tables[MAIN_HEADER]
    return tables


def _build_field(name: str, form: str, unit: str, notes: list[str]) -> StandardField:
    match = _FORMAT_PATTERN.fullmatch(form)
    assert match is not None  # noqa: S101  (the text above is well formed)
    count, channels, code = match.groups()
    choices: tuple[str, ...] = ()
    for note in notes:
        if note.startswith("="):
            choices = tuple(word.replace("_", " ") for word in note[1:].split(","))
    return StandardField(
        name=name,
        code=code,
        width=1 - len(channels) if channels else int(count or 1),
        unit="" if unit == "-" else unit,
        optional="?" in notes,
        positive="+" in notes,
        choices=choices,
    )


def resolve_column_alias(table: str, name: str) -> str:
    """Return the name in the standard of a column that files also write otherwise.

    Parameters
    ----------
    table, name
        The table and the name in the file, in upper case.
    """
    return _COLUMN_ALIASES.get((table, name), name)


def is_same_unit(unit: str, standard_unit: str) -> bool:
    """Return whether a unit in a file is the one of the standard, in any of its spellings.

    Parameters
    ----------
    unit
        Unit in the file.
    standard_unit
        Unit of the standard.
    """
    return "".join(unit.split()).lower() in UNIT_SPELLINGS[standard_unit]
