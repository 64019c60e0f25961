"""The rules that OIFITS files are checked by: the 66 of JMMC's checker, by their names, and their severities.

Three rules are repairs: they report a fault that a program can mend without knowledge of the observation.
"""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING, INFORMATION = "error", "warning", "info"
JMMC_PROFILE, STRICT_PROFILE, LENIENT_PROFILE = "jmmc", "strict", "lenient"
PROFILES = (JMMC_PROFILE, STRICT_PROFILE, LENIENT_PROFILE)


@dataclass(frozen=True, slots=True)
class OifitsRule:
    """A rule.

    Attributes
    ----------
    name
        Its name.
    origin
        Section of the standard (V1, V2), or JMMC.
    meaning
        What it demands.
    """

    name: str
    origin: str
    meaning: str

    @property
    def is_repairable(self) -> bool:
        """Whether the fault can be repaired."""
        return self.name.endswith("_FIX")


_RULES_TEXT = """
FILE_EXIST | JMMC | the file exists
FILE_LOAD | JMMC | the file is readable FITS
MAIN_HEADER_TYPE_MULTI | V2, main header, note 3 | if a file has several observations, its keywords say MULTI
UNKNOWN_TABLE | V2 4.2, paragraphs 3 and 4 | the file has only tables of the standard
UNKNOWN_COLUMN | JMMC | tables have only columns of the standard
OIFITS_MAIN_HEADER_EXIST_V2 | V2 4.1, paragraph 3 | the first header of an OIFITS 2 file describes the file
OIFITS_OI_TARGET_EXIST | V2 4.2, paragraph 1 | there is exactly one OI_TARGET
OIFITS_OI_WAVELENGTH_EXIST | V2 4.2, paragraph 1 | there is an OI_WAVELENGTH
OIFITS_OI_ARRAY_EXIST_V2 | V2 4.2, paragraph 1 | a file of OIFITS 2 has an OI_ARRAY
OIFITS_OIDATA | V2 4.2, paragraph 1 | there is a table of data: OI_VIS, OI_VIS2, OI_T3 or OI_FLUX
OIFITS_TABLE_NOT_V2 | JMMC | a file of OIFITS 1 has no OI_CORR, OI_INSPOL or OI_FLUX
ARRNAME_REF | V2 6.1, paragraph 3 | ARRNAME names an OI_ARRAY of the file
ARRNAME_UNIQ | V2 5.2, paragraph 1 | no two OI_ARRAY have the same ARRNAME
CORRNAME_REF | V2 6.1, paragraph 3 | CORRNAME names an OI_CORR of the file
CORRNAME_UNIQ | V2 7.2, paragraph 4 | no two OI_CORR have the same CORRNAME
INSNAME_REF | V2 6.1, paragraph 3 | INSNAME names an OI_WAVELENGTH of the file
INSNAME_UNIQ | V1 6.3.1 | no two OI_WAVELENGTH have the same INSNAME
GENERIC_KEYWORD_MANDATORY | V1 and V2, tables | required keywords are present
GENERIC_KEYWORD_FORMAT | V2 4, paragraph 2 | keywords have values of the right type
GENERIC_KEYWORD_VAL_ACCEPTED_INT | V1 and V2, tables | whole numbers in keywords are those that the standard allows
GENERIC_KEYWORD_VAL_ACCEPTED_STR | V1 and V2, tables | words in keywords are those that the standard allows
GENERIC_COL_MANDATORY | V1 and V2, tables | required columns are present
GENERIC_COL_DIM | JMMC | cells of a column have at least one value
GENERIC_COL_FORMAT | V2 4, paragraph 1 | columns have the right type and width
GENERIC_COL_NBROWS | JMMC | each row of the table has a cell of each column
GENERIC_COL_UNIT_EXIST | V2 4, paragraph 2 | columns state their units
GENERIC_COL_UNIT | V2 4, paragraph 2 | units are those of the standard
GENERIC_COL_VAL_ACCEPTED_INT | V1 and V2, tables | numbers of targets and stations are in OI_TARGET and OI_ARRAY
GENERIC_COL_VAL_ACCEPTED_STR | V1 and V2, tables | words in columns are those that the standard allows
GENERIC_COL_VAL_POSITIVE | JMMC | sizes, bands and durations are finite and positive
GENERIC_COL_ERR_FIX | JMMC | errors of unflagged values are positive
GENERIC_CORRINDX_MIN | V2 7.2, paragraph 4 | indices of correlations are at least 1
GENERIC_CORRINDX_MAX | V2 7.2, paragraph 4 | indices of correlations are at most NDATA
GENERIC_CORRINDX_UNIQ | V2 7.2, paragraph 4 | no two values have the same index of correlations
GENERIC_DATE_OBS_RANGE | V2 6.1, paragraph 1 | DATE-OBS lies between 1933 and 2150
GENERIC_DATE_OBS_STANDARD | V2 6.1, paragraph 1 | DATE-OBS begins with YYYY-MM-DD
GENERIC_MJD_RANGE | V2 6.1, paragraph 1 | MJD lies between 1933 and 2150
GENERIC_OIREV_FIX | JMMC | OI_REVN is the revision of the table in this version of OIFITS
GENERIC_STA_INDEX_UNIQ | V1 6.1.4 | the stations of a baseline or triangle differ
OI_ARRAY_ARRNAME | V2 5.2, paragraph 1 | ARRNAME of OI_ARRAY is not blank
OI_ARRAY_STA_NAME | JMMC | stations have names
OI_ARRAY_STA_NAME_UNIQ | JMMC | no two stations have the same name
OI_ARRAY_STA_INDEX_MIN | V1 6.1.4 | station numbers are at least 1
OI_ARRAY_STA_INDEX_UNIQ | V1 6.1.4 | no two stations have the same number
OI_ARRAY_XYZ | V1 6.1.3 | a geocentric array lies on the earth
OI_ARRAY_XYZ_FIX | JMMC | VLTI and CHARA have their real coordinates
OI_CORR_CORRNAME | JMMC | CORRNAME of OI_CORR is not blank
OI_CORR_IINDEX_MIN | V2, OI_CORR | IINDX is at least 1
OI_CORR_JINDEX_SUP | V2, OI_CORR | JINDX is larger than IINDX
OI_CORR_IJINDEX_MAX | V2, OI_CORR | IINDX and JINDX are at most NDATA
OI_FLUX_CORRINDX | V2 7.2, paragraph 4 | OI_FLUX with indices of correlations names an OI_CORR
OI_VIS_CORRINDX | V2 7.2, paragraph 4 | OI_VIS with indices of correlations names an OI_CORR
OI_VIS2_CORRINDX | V2 7.2, paragraph 4 | OI_VIS2 with indices of correlations names an OI_CORR
OI_T3_CORRINDX | V2 7.2, paragraph 4 | OI_T3 with indices of correlations names an OI_CORR
OI_INSPOL_INSNAME_UNIQ | V2 7.3, paragraph 2 | no two OI_INSPOL describe the same INSNAME
OI_INSPOL_MJD_DIFF | V2 6.1, paragraph 3 | MJD_OBS is not after MJD_END
OI_INSPOL_MJD_RANGE | V2 6.1, paragraph 3 | OI_INSPOL covers the times of the data of its INSNAME
OI_TARGET_COORD | JMMC | targets do not lie at 0, 0
OI_TARGET_COORD_EXIST | JMMC | targets have coordinates
OI_TARGET_TARGET | JMMC | targets have names
OI_TARGET_TARGET_EXIST | JMMC | OI_TARGET has a target
OI_TARGET_TARGET_UNIQ | JMMC | no two targets have the same name
OI_TARGET_TARGETID_MIN | V2, OI_TARGET | numbers of targets are at least 1
OI_TARGET_TARGETID_UNIQ | JMMC | no two targets have the same number
OI_WAVELENGTH_EFF_WAVE | JMMC | wavelengths lie between 0.1 and 20 micrometres
OI_WAVELENGTH_INSNAME | V2 5.3, paragraph 3 | INSNAME of OI_WAVELENGTH is not blank
"""
# rule, table (* any), beginning of the keyword or column (* any), version (0 any), severity; the last that fits counts
_JMMC_SEVERITIES_TEXT = """
UNKNOWN_COLUMN                   *         *       0 warning
UNKNOWN_TABLE                    *         *       0 warning
GENERIC_COL_VAL_POSITIVE         *         *       0 info
GENERIC_DATE_OBS_STANDARD        *         *       0 warning
GENERIC_DATE_OBS_RANGE           *         *       0 warning
GENERIC_MJD_RANGE                *         *       0 warning
MAIN_HEADER_TYPE_MULTI           *         *       0 info
OI_ARRAY_XYZ                     *         *       0 warning
OI_INSPOL_MJD_RANGE              *         *       0 warning
OI_TARGET_COORD                  *         *       0 warning
GENERIC_COL_VAL_ACCEPTED_STR     OI_TARGET *       0 warning
GENERIC_COL_VAL_ACCEPTED_STR     OI_TARGET CATEGORY 0 error
GENERIC_KEYWORD_MANDATORY        *         INSMODE 0 warning
GENERIC_COL_MANDATORY            OI_ARRAY  FOV     0 warning
GENERIC_COL_UNIT                 *         *       0 info
GENERIC_COL_UNIT                 OI_VIS    VISAMP  0 error
GENERIC_COL_UNIT                 OI_VIS    RVIS    0 error
GENERIC_COL_UNIT                 OI_VIS    IVIS    0 error
GENERIC_COL_UNIT                 OI_FLUX   FLUX    0 error
GENERIC_COL_UNIT_EXIST           *         *       0 info
GENERIC_COL_UNIT_EXIST           OI_VIS    VISAMP  0 error
GENERIC_COL_UNIT_EXIST           OI_VIS    RVIS    0 error
GENERIC_COL_UNIT_EXIST           OI_VIS    IVIS    0 error
GENERIC_COL_UNIT_EXIST           OI_FLUX   FLUX    0 error
GENERIC_KEYWORD_VAL_ACCEPTED_INT *         OI_REVN 1 info
GENERIC_KEYWORD_VAL_ACCEPTED_INT *         OI_REVN 2 warning
GENERIC_COL_ERR_FIX              *         *       0 warning
OI_ARRAY_XYZ_FIX                 *         *       0 warning
GENERIC_OIREV_FIX                *         *       0 info
"""


def _parse_rules() -> dict[str, OifitsRule]:
    rules = {}
    for line in _RULES_TEXT.strip().splitlines():
        name, origin, meaning = (part.strip() for part in line.split("|"))
        rules[name] = OifitsRule(name, origin, meaning)
    return rules


OIFITS_RULES = _parse_rules()
_JMMC_SEVERITIES = [line.split() for line in _JMMC_SEVERITIES_TEXT.strip().splitlines()]


def find_severity(profile: str, rule: str, table: str, member: str, version: int) -> str:
    """Return the severity of a broken rule.

    Parameters
    ----------
    profile
        One of `PROFILES`: ``strict`` makes each an error, ``lenient`` an information.
    rule
        Name of the rule.
    table, member
        The table, and its keyword or column; empty: the file.
    version
        Version of OIFITS.
    """
    if profile != JMMC_PROFILE:
        if profile == STRICT_PROFILE:
            return ERROR
        return INFORMATION
    severity = ERROR
    if table == "OI_CORR":
        severity = INFORMATION
    for name, table_word, member_word, version_word, word in _JMMC_SEVERITIES:
        is_place = table_word in {"*", table} and (member_word == "*" or member.startswith(member_word))
        if name == rule and is_place and version_word in {"0", str(version)}:
            severity = word
    return severity
