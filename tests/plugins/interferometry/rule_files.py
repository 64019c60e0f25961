"""Made OIFITS files: one of each version that keeps all rules, and for each rule a change that breaks it alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

CHANNELS, ROWS = 3, 2
Files = Any  # an HDUList, whose stubs are poor
Change = Callable[[Files], Any]


def _column(name: str, form: str, values: Any, unit: str | None = None) -> fits.Column:
    return fits.Column(name, form, unit, array=np.asarray(values))


def _table(name: str, cards: dict[str, Any], *columns: fits.Column) -> fits.BinTableHDU:
    hdu = fits.BinTableHDU.from_columns(list(columns), name=name)
    hdu.header.update(cards)
    return hdu


def _data_columns(version: int, stations: list[list[int]], baselines: tuple[str, ...]) -> list[fits.Column]:
    columns = [
        _column("TARGET_ID", "I", [1, 2]), _column("TIME", "D", [0.0, 60.0], "s"), _column("MJD", "D", [57_000.1, 57_000.2], "d"),
        _column("INT_TIME", "D", [30.0, 30.0], "s"), _column("STA_INDEX", f"{len(stations[0])}I", stations),
        _column("FLAG", f"{CHANNELS}L", np.array([[False, False, True]] * ROWS)),
    ]  # fmt: skip
    return columns + [_column(name, "D", [10.0, 20.0], "m") for name in baselines]


def _values(name: str, value: float, unit: str | None = None) -> fits.Column:
    return _column(name, f"{CHANNELS}D", np.full((ROWS, CHANNELS), value), unit)


def make_oifits(version: int) -> Files:
    """Make a file that keeps all rules: 1 or 2."""
    cards = {"OI_REVN": version}
    data = {**cards, "DATE-OBS": "2014-12-09", "ARRNAME": "MADE", "INSNAME": "INS_A"}
    targets = [
        _column("TARGET_ID", "I", [1, 2]), _column("TARGET", "16A", ["one", "two"]),
        *(_column(name, "D", value, "deg") for name, value in (("RAEP0", [10.0, 200.0]), ("DECEP0", [-20.0, 0.0]))),
        _column("EQUINOX", "E", [2000.0, 2000.0], "yr"), *(_column(name, "D", [0.0, 0.0], "deg") for name in ("RA_ERR", "DEC_ERR")),
        _column("SYSVEL", "D", [0.0, 0.0], "m/s"), _column("VELTYP", "8A", ["LSR", "UNKNOWN"]), _column("VELDEF", "8A", ["OPTICAL", "RADIO"]),
        *(_column(name, "D", [0.0, 0.0], "deg/yr") for name in ("PMRA", "PMDEC", "PMRA_ERR", "PMDEC_ERR")),
        *(_column(name, "E", [0.0, 0.0], "deg") for name in ("PARALLAX", "PARA_ERR")), _column("SPECTYP", "16A", ["A0V", ""]),
    ]  # fmt: skip
    stations = [
        _column("TEL_NAME", "16A", ["T1", "T2", "T3"]), _column("STA_NAME", "16A", ["A0", "B0", "C0"]), _column("STA_INDEX", "I", [1, 2, 3]),
        _column("DIAMETER", "E", [1.8] * 3, "m"), _column("STAXYZ", "3D", np.arange(9.0).reshape(3, 3), "m"),
    ]  # fmt: skip
    if version == 2:
        targets.append(_column("CATEGORY", "3A", ["SCI", "CAL"]))
        stations += [_column("FOV", "D", [1.0] * 3, "arcsec"), _column("FOVTYPE", "6A", ["FWHM", "RADIUS", "FWHM"])]
    array = {
        **cards,
        "ARRNAME": "MADE",
        "FRAME": "GEOCENTRIC",
        "ARRAYX": 1942014.15,
        "ARRAYY": -5455311.81,
        "ARRAYZ": -2654530.43,
    }
    waves = [_column("EFF_WAVE", "E", [1.5e-6, 1.6e-6, 1.7e-6], "m"), _column("EFF_BAND", "E", [1e-7] * 3, "m")]
    pairs, triangles = [[1, 2], [2, 3]], [[1, 2, 3], [3, 2, 1]]
    hdus = [
        fits.PrimaryHDU(), _table("OI_TARGET", cards, *targets), _table("OI_ARRAY", array, *stations),
        _table("OI_WAVELENGTH", {**cards, "INSNAME": "INS_A"}, *waves),
        _table("OI_VIS", data, *_data_columns(version, pairs, ("UCOORD", "VCOORD")), _values("VISAMP", 0.5), _values("VISAMPERR", 0.1),
               _values("VISPHI", 3.0, "deg"), _values("VISPHIERR", 1.0, "deg")),
        _table("OI_VIS2", data, *_data_columns(version, pairs, ("UCOORD", "VCOORD")), _values("VIS2DATA", 0.5), _values("VIS2ERR", 0.1)),
        _table("OI_T3", data, *_data_columns(version, triangles, ("U1COORD", "V1COORD", "U2COORD", "V2COORD")), _values("T3AMP", 0.5),
               _values("T3AMPERR", 0.1), _values("T3PHI", 3.0, "deg"), _values("T3PHIERR", 1.0, "deg")),
    ]  # fmt: skip
    if version == 2:
        hdus[0].header.update({
            "ORIGIN": "ESO", "DATE": "2015-01-01", "DATE-OBS": "2014-12-09", "CONTENT": "OIFITS2", "TELESCOP": "MADE", "INSTRUME": "INS",
            "OBSERVER": "MULTI", "INSMODE": "LOW", "OBJECT": "MULTI", "MJD-OBS": 57_000.1, "NUM_CHAN": 3, "RA": 10,
        })  # fmt: skip
        hdus += _make_tables_of_version_2(data, pairs)
    return fits.HDUList(hdus)


def make_flux_table(data: dict[str, Any], *more: fits.Column) -> fits.BinTableHDU:
    columns = [column for column in _data_columns(2, [[1], [2]], ()) if column.name != "TIME"]
    cards = {**data, "OI_REVN": 1, "CALSTAT": "C"}
    return _table("OI_FLUX", cards, *columns, _values("FLUXDATA", 5.0, "Jy"), _values("FLUXERR", 0.1, "Jy"), *more)


def _make_tables_of_version_2(data: dict[str, Any], pairs: list[list[int]]) -> list[fits.BinTableHDU]:
    jones = [_column(name, f"{CHANNELS}C", np.ones((ROWS, CHANNELS), "c8")) for name in ("JXX", "JYY", "JXY", "JYX")]
    inspol = _table(
        "OI_INSPOL", {"OI_REVN": 1, "ARRNAME": "MADE", "NPOL": 2, "ORIENT": "NORTH", "MODEL": "made"},
        _column("TARGET_ID", "I", [1, 2]), _column("INSNAME", "70A", ["INS_A", "INS_A"]), _column("MJD_OBS", "D", [57_000.0] * 2, "d"),
        _column("MJD_END", "D", [57_001.0] * 2, "d"), *jones, _column("STA_INDEX", "I", [1, 2]),
    )  # fmt: skip
    corr = _table(
        "OI_CORR", {"OI_REVN": 1, "CORRNAME": "C", "NDATA": 100},
        _column("IINDX", "J", [1, 2]), _column("JINDX", "J", [2, 3]), _column("CORR", "D", [0.5, 0.5]),
    )  # fmt: skip
    vis2 = _table(
        "OI_VIS2", {**data, "CORRNAME": "C"}, *_data_columns(2, pairs, ("UCOORD", "VCOORD")), _values("VIS2DATA", 0.5),
        _values("VIS2ERR", 0.1), _column("CORRINDX_VIS2DATA", "J", [1, 4]),
    )  # fmt: skip
    vis2.ver = 2
    return [inspol, corr, vis2, make_flux_table({**data, "CORRNAME": "C"}, _column("CORRINDX_FLUXDATA", "J", [11, 14]))]


# --- changes ----------------------------------------------------------------------------------------------------------


def set_card(table: str | int, key: str, value: Any) -> Change:
    def change(hdus: Files) -> None:
        hdus[table].header[key] = value

    return change


def set_cell(table: str | tuple[str, int], column: str, row: int, value: Any) -> Change:
    def change(hdus: Files) -> None:
        hdus[table].data[column][row] = value

    return change


def _remove_table(*names: str) -> Change:
    def change(hdus: Files) -> None:
        for name in names:
            while name in hdus:
                del hdus[name]

    return change


def _repeat_table(name: str) -> Change:
    return lambda hdus: hdus.append(hdus[name].copy())


def _replace_column(table: str | tuple[str, int], old: str, *new: fits.Column) -> Change:
    """Replace a column by others, in its place."""

    def change(hdus: Files) -> None:
        hdu = hdus[table]
        cards = {key: hdu.header[key] for key in hdu.header if key in {"OI_REVN", "INSNAME", "ARRNAME", "DATE-OBS", "CORRNAME", "CALSTAT", "FRAME", "ARRAYX", "ARRAYY", "ARRAYZ", "NDATA"}}  # fmt: skip
        columns = [fits.Column(c.name, c.format, c.unit, array=hdu.data[c.name]) for c in hdu.columns]
        place = [c.name for c in columns].index(old)
        hdus[hdus.index(hdu)] = _table(hdu.name, cards, *columns[:place], *new, *columns[place + 1 :])

    return change


def _drop_card(table: str | int | tuple[str, int], key: str) -> Change:
    def change(hdus: Files) -> None:
        del hdus[table].header[key]

    return change


def _drop_unit(table: str, column: str) -> Change:
    return lambda hdus: (
        hdus[table].columns.change_unit(column, "") or hdus[table].columns[column].__setattr__("unit", None)
    )


def _empty_targets(hdus: Files) -> None:
    hdus["OI_TARGET"].data = hdus["OI_TARGET"].data[:0]
    for name in ("OI_VIS", "OI_VIS2", "OI_T3"):
        hdus[name].data = hdus[name].data[:0]


def _strip_main_header(hdus: Files) -> None:
    hdus[0] = fits.PrimaryHDU()


def _add_index(table: str, column: str) -> Change:
    def change(hdus: Files) -> None:
        first = hdus[table].columns[0]
        index = _column(column, "J", [31, 34])
        _replace_column(
            table, first.name, fits.Column(first.name, first.format, array=hdus[table].data[first.name]), index
        )(hdus)

    return change


def _all(*changes: Change) -> Change:
    def change(hdus: Files) -> None:
        for step in changes:
            step(hdus)

    return change


def _add_reversed_inspol_row(hdus: Files) -> None:
    data = hdus["OI_INSPOL"].data
    data["MJD_OBS"][1] = 57_002.0


CORRELATED_VIS2 = ("OI_VIS2", 2)
# rule -> version of the file, and the change that breaks it
BREAKS: dict[str, tuple[int, Change]] = {
    "MAIN_HEADER_TYPE_MULTI": (2, set_card(0, "OBJECT", "one")),
    "UNKNOWN_TABLE": (1, lambda hdus: hdus.append(_table("OI_WIDTH", {}, _column("A", "J", [1])))),
    "UNKNOWN_COLUMN": (1, _replace_column("OI_ARRAY", "STAXYZ", _column("STAXYZ", "3D", np.zeros((3, 3)), "m"), _column("MOUNT", "J", [1, 2, 3]))),
    "OIFITS_MAIN_HEADER_EXIST_V2": (2, _strip_main_header),
    "OIFITS_OI_TARGET_EXIST": (1, _remove_table("OI_TARGET")),
    "OIFITS_OI_WAVELENGTH_EXIST": (1, _remove_table("OI_WAVELENGTH")),
    "OIFITS_OI_ARRAY_EXIST_V2": (2, _remove_table("OI_ARRAY")),
    "OIFITS_OIDATA": (1, _remove_table("OI_VIS", "OI_VIS2", "OI_T3")),
    "OIFITS_TABLE_NOT_V2": (1, lambda hdus: hdus.append(make_flux_table({"DATE-OBS": "2014-12-09", "ARRNAME": "MADE", "INSNAME": "INS_A"}))),
    "ARRNAME_REF": (1, set_card("OI_VIS2", "ARRNAME", "OTHER")),
    "ARRNAME_UNIQ": (1, _repeat_table("OI_ARRAY")),
    "CORRNAME_REF": (2, set_card("OI_FLUX", "CORRNAME", "OTHER")),
    "CORRNAME_UNIQ": (2, _repeat_table("OI_CORR")),
    "INSNAME_REF": (1, set_card("OI_VIS2", "INSNAME", "OTHER")),
    "INSNAME_UNIQ": (1, _repeat_table("OI_WAVELENGTH")),
    "GENERIC_KEYWORD_MANDATORY": (1, _drop_card("OI_VIS2", "DATE-OBS")),
    "GENERIC_KEYWORD_FORMAT": (2, set_card("OI_CORR", "NDATA", 100.5)),
    "GENERIC_KEYWORD_VAL_ACCEPTED_INT": (1, set_card("OI_T3", "OI_REVN", 7)),
    "GENERIC_KEYWORD_VAL_ACCEPTED_STR": (2, set_card("OI_FLUX", "CALSTAT", "X")),
    "GENERIC_COL_MANDATORY": (1, _replace_column("OI_VIS2", "TIME")),
    "GENERIC_COL_DIM": (1, _replace_column("OI_VIS2", "VIS2DATA", fits.Column("VIS2DATA", "0D"))),
    "GENERIC_COL_FORMAT": (1, _replace_column("OI_VIS2", "UCOORD", _column("UCOORD", "E", [1.0, 2.0], "m"))),
    "GENERIC_COL_NBROWS": (1, _replace_column("OI_TARGET", "SPECTYP", _column("SPECTYP", "16A", ["A", "B"]))),  # and NAXIS1 below
    "GENERIC_COL_UNIT_EXIST": (1, _replace_column("OI_VIS2", "MJD", _column("MJD", "D", [57_000.1, 57_000.2]))),
    "GENERIC_COL_UNIT": (1, _replace_column("OI_VIS2", "UCOORD", _column("UCOORD", "D", [1.0, 2.0], "km"))),
    "GENERIC_COL_VAL_ACCEPTED_INT": (1, set_cell("OI_VIS2", "TARGET_ID", 1, 3)),
    "GENERIC_COL_VAL_ACCEPTED_STR": (1, set_cell("OI_TARGET", "VELDEF", 1, "VISIBLE")),
    "GENERIC_COL_VAL_POSITIVE": (1, set_cell("OI_VIS2", "INT_TIME", 1, -1.0)),
    "GENERIC_COL_ERR_FIX": (1, set_cell("OI_VIS2", "VIS2ERR", 1, [0.1, -0.1, -0.1])),
    "GENERIC_CORRINDX_MIN": (2, set_cell(CORRELATED_VIS2, "CORRINDX_VIS2DATA", 0, -5)),
    "GENERIC_CORRINDX_MAX": (2, set_cell(CORRELATED_VIS2, "CORRINDX_VIS2DATA", 0, 101)),
    "GENERIC_CORRINDX_UNIQ": (2, set_cell("OI_FLUX", "CORRINDX_FLUXDATA", 0, 4)),
    "GENERIC_DATE_OBS_RANGE": (1, set_card("OI_T3", "DATE-OBS", "1564-02-15")),
    "GENERIC_DATE_OBS_STANDARD": (1, set_card("OI_T3", "DATE-OBS", "09/12/14")),
    "GENERIC_MJD_RANGE": (1, set_cell("OI_T3", "MJD", 0, 1.0)),
    "GENERIC_OIREV_FIX": (1, set_card("OI_T3", "OI_REVN", 2)),
    "GENERIC_STA_INDEX_UNIQ": (1, set_cell("OI_T3", "STA_INDEX", 0, [1, 2, 1])),
    "OI_ARRAY_ARRNAME": (1, lambda hdus: (hdus.append(hdus["OI_ARRAY"].copy()), set_card(-1, "ARRNAME", "")(hdus))),
    "OI_ARRAY_STA_NAME": (1, set_cell("OI_ARRAY", "STA_NAME", 1, "")),
    "OI_ARRAY_STA_NAME_UNIQ": (1, set_cell("OI_ARRAY", "STA_NAME", 1, "A0")),
    "OI_ARRAY_STA_INDEX_MIN": (1, _all(set_cell("OI_ARRAY", "STA_INDEX", 0, 0), *(set_cell(name, "STA_INDEX", 0, cell) for name, cell in (("OI_VIS", [0, 2]), ("OI_VIS2", [0, 2]), ("OI_T3", [0, 2, 3]))), set_cell("OI_T3", "STA_INDEX", 1, [3, 2, 0]))),
    "OI_ARRAY_STA_INDEX_UNIQ": (1, _all(set_cell("OI_ARRAY", "STA_INDEX", 0, 2), *(set_cell(name, "STA_INDEX", 0, [2, 3]) for name in ("OI_VIS", "OI_VIS2")), _remove_table("OI_T3"))),
    "OI_ARRAY_XYZ": (1, set_card("OI_ARRAY", "ARRAYX", 0.0)),
    "OI_ARRAY_XYZ_FIX": (1, _all(*(set_card("OI_ARRAY", key, 0.0) for key in ("ARRAYX", "ARRAYY", "ARRAYZ")), *(set_card(name, "ARRNAME", "CHARA_1") for name in ("OI_ARRAY", "OI_VIS", "OI_VIS2", "OI_T3")))),
    "OI_CORR_CORRNAME": (2, lambda hdus: (hdus.append(hdus["OI_CORR"].copy()), set_card(-1, "CORRNAME", "")(hdus))),
    "OI_CORR_IINDEX_MIN": (2, set_cell("OI_CORR", "IINDX", 0, 0)),
    "OI_CORR_JINDEX_SUP": (2, set_cell("OI_CORR", "JINDX", 0, 1)),
    "OI_CORR_IJINDEX_MAX": (2, set_cell("OI_CORR", "JINDX", 0, 101)),
    "OI_FLUX_CORRINDX": (2, _drop_card("OI_FLUX", "CORRNAME")),
    "OI_VIS_CORRINDX": (2, _add_index("OI_VIS", "CORRINDX_VISAMP")),
    "OI_VIS2_CORRINDX": (2, _drop_card(CORRELATED_VIS2, "CORRNAME")),
    "OI_T3_CORRINDX": (2, _add_index("OI_T3", "CORRINDX_T3PHI")),
    "OI_INSPOL_INSNAME_UNIQ": (2, _repeat_table("OI_INSPOL")),
    "OI_INSPOL_MJD_DIFF": (2, _add_reversed_inspol_row),
    "OI_INSPOL_MJD_RANGE": (2, set_cell("OI_FLUX", "MJD", 0, 57_002.0)),
    "OI_TARGET_COORD": (1, set_cell("OI_TARGET", "RAEP0", 1, 0.0)),
    "OI_TARGET_COORD_EXIST": (1, set_cell("OI_TARGET", "DECEP0", 0, np.nan)),
    "OI_TARGET_TARGET": (1, set_cell("OI_TARGET", "TARGET", 0, "")),
    "OI_TARGET_TARGET_EXIST": (1, _empty_targets),
    "OI_TARGET_TARGET_UNIQ": (1, set_cell("OI_TARGET", "TARGET", 0, "two")),
    "OI_TARGET_TARGETID_MIN": (1, _all(*(set_cell(name, "TARGET_ID", 0, 0) for name in ("OI_TARGET", "OI_VIS", "OI_VIS2", "OI_T3")))),
    "OI_TARGET_TARGETID_UNIQ": (1, _all(*(set_cell(name, "TARGET_ID", 0, 2) for name in ("OI_TARGET", "OI_VIS", "OI_VIS2", "OI_T3")))),
    "OI_WAVELENGTH_EFF_WAVE": (1, set_cell("OI_WAVELENGTH", "EFF_WAVE", 0, 21e-6)),
    "OI_WAVELENGTH_INSNAME": (1, lambda hdus: (hdus.append(hdus["OI_WAVELENGTH"].copy()), set_card(-1, "INSNAME", "")(hdus))),
}  # fmt: skip


def write_broken_file(rule: str, folder: Path) -> tuple[Path, int]:
    """Write a file that breaks a rule; return it, and the version by which it is to be checked (0: its own)."""
    path = folder / f"{rule}.oifits"
    if rule == "FILE_EXIST":
        return path, 0
    if rule == "FILE_LOAD":
        make_oifits(1).writeto(path)
        path.write_bytes(path.read_bytes()[:-4_000])
        return path, 0
    version, change = BREAKS[rule]
    hdus = make_oifits(version)
    change(hdus)
    hdus.writeto(path, output_verify="ignore")
    if rule == "GENERIC_COL_NBROWS":  # the row is too short for its last column
        path.write_bytes(path.read_bytes().replace(b"TFORM17 = '16A ", b"TFORM17 = '32A "))
    return path, 2 if rule == "OIFITS_MAIN_HEADER_EXIST_V2" else 0
