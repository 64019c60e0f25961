"""Group obscore: the table ivoa.obscore of ObsCore 1.1 - its declaration, columns and rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.lint import values
from hven.lint.facts import facts
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.lint.groups.epncore import fits
from hven.lint.groups.epnvalues import TIMESTAMP
from hven.model import units
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.facts import Fact
    from hven.lint.service import Column, Service, Table
    from hven.lint.values import Record, Rule

S = "ObsCore 1.1"
CHECKS = table_of_checks(
    ("obscore.undeclared", "warning", f"{S} sec. 5; TAPRegExt 1.0 sec. 2.1", "there is ivoa.obscore but no data model is declared",
     'add <dataModel ivo-id="ivo://ivoa.net/std/ObsCore#core-1.1">', "W_DMDC"),
    ("obscore.absent", "error", f"{S} sec. 5", "ObsCore is declared but there is no table ivoa.obscore", "serve it, or take the declaration out", "F_NOTB"),
    ("obscore.model", "warning", f"{S} sec. 5", "the data model's identifier is not ObsCore 1.1's, or two are declared", "ivo://ivoa.net/std/ObsCore#core-1.1, alone", "W_WODM W_IODM W_DMSS"),
    ("obscore.missing-column", "error", f"{S} sec. 3, table 1", "a mandatory column is missing", "add it; NULL is allowed in most", "E_OCOL"),
    ("obscore.type", "error", f"{S} appendix C", "a column has another datatype than the standard's", "use the standard's", "E_TYPX W_TYPI"),
    ("obscore.unit", "error", f"{S} appendix C", "a column has another unit than the standard's", "convert, and say exactly that unit", "E_CUNI"),
    ("obscore.ucd", "error", f"{S} appendix C", "a column has another UCD than the standard's", "say the standard's", "E_CUCD"),
    ("obscore.utype", "error", f"{S} appendix C", "a column has another utype than the standard's", "say the standard's, with the prefix obscore:", "E_CUTP"),
    ("obscore.condition", "error", "TAP 1.1 sec. 2.7; ADQL 2.1 sec. 2.2", "a condition of plain ADQL on a column fails", "see the service's own message, and the column's type", "E_QERR E_QERX"),
    ("obscore.null", "error", f"{S} appendix C", "a column that must have a value in each row is empty", "fill it", "E_HNUL"),
    ("obscore.product-type", "error", f"{S} sec. 3.3.1", "a dataproduct_type is not of the list", "image, cube, spectrum, sed, timeseries, visibility, event, measurements or NULL", "E_ILOP"),
    ("obscore.calib-level", "error", f"{S} sec. 3.3.2", "a calib_level is outside 0..4", "0 raw to 4 analysis product", "E_RANG"),
    ("obscore.option", "warning", f"{S} appendix B", "a value is not one that the standard proposes", "use its words", "W_NSOP"),
    ("obscore.interval-order", "error", f"{S} appendix B", "an interval's minimum is above its maximum", "swap them", ""),
    ("obscore.position", "error", f"{S} appendix B.6", "a position is not on the sky", "ICRS degrees: 0..360, -90..90", "E_RANG"),
    ("obscore.half", "error", f"{S} appendix B", "one of two columns that belong together is empty", "fill both or none", ""),
    ("obscore.time", "warning", f"{S} appendix B.6.3", "a time is no plausible MJD", "MJD, not JD: subtract 2400000.5", "E_RANG"),
    ("obscore.negative", "error", f"{S} appendix B", "a quantity is negative", "sizes, resolutions, exposures and numbers of pixels (-1: unbinned) are not", "E_RANG"),
    ("obscore.wavelength", "warning", f"{S} appendix B.6.2", "a wavelength is not one in metres", "metres in vacuum: 5.5e-7, not 550 or 5500", "E_RANG"),
    ("obscore.media-type", "warning", f"{S} sec. 4.7", "an access_format is no media type", "write type/subtype", ""),
    ("obscore.url", "error", f"{S} sec. 4.7", "an address is no URL", "write it whole, with https://", ""),
    ("obscore.did", "warning", f"{S} sec. 3.3.6; IVOA Identifiers 2.0", "obs_publisher_did is no ivo identifier", "ivo://authority/path?dataset", ""),
    ("obscore.ucd-value", "warning", f"{S} appendix B.6.4", "a value that should be a UCD is none", "use UCD1+", ""),
    ("obscore.unit-value", "warning", f"{S} appendix B.6", "a value that should be a unit is none", "use VOUnits", ""),
    ("obscore.polarization", "error", f"{S} appendix B.6.5", "pol_states is not written as the standard has it", "/I/Q/U/V/ in the standard's order, or NULL", ""),
    ("obscore.polarization-number", "warning", f"{S} appendix B.6.5", "pol_xel is not the number of pol_states", "count the states; 0 if there are none", ""),
    ("obscore.timestamp", "error", f"{S} appendix B; DALI 1.1 sec. 3.3.3", "a date is no ISO time", "YYYY-MM-DD[Thh:mm:ss[.s]]", ""),
    ("obscore.exposure", "warning", f"{S} appendix B.6.3", "the exposure is longer than the observation", "t_exptime is in seconds, t_min and t_max in days", ""),
)  # fmt: skip
TYPES = ("image", "cube", "spectrum", "sed", "timeseries", "visibility", "event", "measurements")
OPTIONS = {
    "data_rights": ("public", "secure", "proprietary"),
    "s_calib_status": ("uncalibrated", "raw", "calibrated"),
    "em_calib_status": ("calibrated", "uncalibrated", "relative", "absolute"),
    "t_calib_status": ("calibrated", "uncalibrated", "relative", "raw"),
    "o_calib_status": ("absolute", "relative", "normalized", "any"),
}  # fmt: skip
STATES = ["I", "Q", "U", "V", "RR", "LL", "RL", "LR", "XX", "YY", "XY", "YX", "POLI", "POLA"]
POSITIVE = (
    "access_estsize",
    "s_fov",
    "s_resolution",
    "s_resolution_min",
    "s_resolution_max",
    "s_pixel_scale",
    "t_exptime",
    "t_resolution",
    "em_res_power",
    "em_resolution",
)
PIXELS = ("s_xel1", "s_xel2", "t_xel", "em_xel", "pol_xel")
MODEL = "ivo://ivoa.net/std/obscore#core-1.1"
KEYS = ("obs_publisher_did", "obs_id")


def _run(service: Service, notes: Notes) -> None:
    table = service.declared.get("ivoa.obscore")
    models = [
        ivoid
        for ivoid, said in service.capabilities.models
        if "obscore" in f"{ivoid} {said}".lower() and "radio" not in ivoid.lower()
    ]
    if table is None:
        if models:
            notes.tell("obscore.absent", value=models[0])
        notes.skip("there is no table ivoa.obscore")
        return
    if not models:
        notes.tell("obscore.undeclared", table=table.name)
    elif len(models) > 1 or models[0].lower() != MODEL:
        notes.tell("obscore.model", value=", ".join(models))
    for fact in facts("obscore").values():
        column = table.get(fact.name)
        if column is not None:
            _column(table, column, fact, notes)
        elif fact.mandatory:
            notes.tell("obscore.missing-column", table=table.name, column=fact.name)
    try:
        values.judge(service, notes, table, _rules(), KEYS)
    except UserError as error:
        notes.skip(f"{table.name}: {error.message}")


def _column(table: Table, column: Column, fact: Fact, notes: Notes) -> None:
    where: dict[str, Any] = {"table": table.name, "column": column.name}
    if not fits(fact.type, column):
        notes.tell("obscore.type", f"it must be {fact.type}", **where, value=column.datatype)
    if column.unit != fact.unit:
        notes.tell("obscore.unit", f"it must be {fact.unit or 'none'}", **where, value=column.unit or "none")
    wanted = {fact.ucd.lower()} | ({"meta.bib.bibcode"} if fact.name == "bib_reference" else set())
    if column.ucd.lower() not in wanted:
        notes.tell("obscore.ucd", f"it must be {fact.ucd}", **where, value=column.ucd or "none")
    if column.utype.lower() != fact.utype.lower():
        notes.tell("obscore.utype", f"it must be {fact.utype}", **where, value=column.utype or "none")


def _rules() -> list[Rule]:
    return [
        *(values.filled("obscore.null", fact.name) for fact in facts("obscore").values() if fact.filled),
        values.among("obscore.product-type", "dataproduct_type", TYPES),
        values.between("obscore.calib-level", "calib_level", 0, 4),
        *(values.among("obscore.option", name, words) for name, words in OPTIONS.items()),
        *(values.ordered("obscore.interval-order", f"{name}_min", f"{name}_max") for name in ("t", "em", "s_resolution", "em_res_power")),
        *(values.together("obscore.half", a, b) for a, b in (("s_ra", "s_dec"), ("t_min", "t_max"), ("em_min", "em_max"))),
        values.between("obscore.position", "s_ra", 0, 360),
        values.between("obscore.position", "s_dec", -90, 90),
        *(values.between("obscore.time", name, -100000, 100000) for name in ("t_min", "t_max")),
        *(values.between("obscore.negative", name, 0, 1e300) for name in POSITIVE),
        *(values.between("obscore.negative", name, -1, 1e18) for name in PIXELS),
        *(values.between("obscore.wavelength", name, 1e-22, 1e6) for name in ("em_min", "em_max")),
        values.matches("obscore.media-type", "access_format", r"[\w.+-]+/[\w.+-]+(\s*;.*)?", distinct=True),
        values.matches("obscore.url", "access_url", r"(https?|ftp)://[^\s/]+\S*"),
        values.matches("obscore.did", "obs_publisher_did", r"ivo://[^\s/?#]+\S*"),
        *(values.says("obscore.ucd-value", name, lambda said: bool(units.check_ucd(str(said))), distinct=True) for name in ("o_ucd", "s_ucd", "em_ucd")),
        *(values.says("obscore.unit-value", name, _no_unit, distinct=True) for name in ("o_unit", "s_unit", "em_unit")),
        values.says("obscore.polarization", "pol_states", _no_states, distinct=True),
        values.Rule(code="obscore.polarization-number", columns=("pol_xel", "pol_states"), fails=_miscounted),
        *(values.matches("obscore.timestamp", name, TIMESTAMP) for name in ("obs_creation_date", "obs_release_date")),
        values.Rule(code="obscore.exposure", columns=("t_exptime", "t_min", "t_max"), fails=_too_long, where="t_exptime > (t_max - t_min) * 86400 * 1.01 + 1"),
    ]  # fmt: skip


def _no_unit(said: Any) -> bool:
    try:
        units.parse(str(said))
    except ValueError:
        return True
    return False


def _no_states(said: Any) -> bool:
    words = re.fullmatch(r"/((?:\w+/)+)", str(said))
    if words is None:
        return True
    places = [STATES.index(one) if one in STATES else -1 for one in words[1].strip("/").split("/")]
    return -1 in places or places != sorted(set(places))


def _miscounted(row: Record) -> bool:
    states, number = row["pol_states"], row["pol_xel"]
    return (
        states is not None and number is not None and number >= 0 and number != len(str(states).strip("/").split("/"))
    )


def _too_long(row: Record) -> bool:
    spent, begin, end = row["t_exptime"], row["t_min"], row["t_max"]
    return None not in {spent, begin, end} and spent > (end - begin) * 86400 * 1.01 + 1


GROUP = Group(name="obscore", title="ObsCore", checks=CHECKS, run=_run)
