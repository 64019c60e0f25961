"""Group obscore: the table ivoa.obscore of ObsCore 1.1 - its declaration, columns and rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.model import units
from hven.model.errors import UserError
from hven.plugins.lint import row_rules
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.facts import load_standard_columns
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.groups.epncore import is_allowed_datatype
from hven.plugins.lint.groups.epncore_rows import TIMESTAMP_PATTERN

if TYPE_CHECKING:
    from hven.plugins.lint.facts import StandardColumn
    from hven.plugins.lint.row_rules import Record, RowRule
    from hven.plugins.lint.tap_service import DeclaredColumn, DeclaredTable, ExaminedTapService

OBSCORE_CHECKS = parse_lint_checks("""
obscore.undeclared | warning | ObsCore 1.1 sec. 5; TAPRegExt 1.0 sec. 2.1 | W_DMDC
    ivoa.obscore exists, but the data model is not declared
    add <dataModel ivo-id="ivo://ivoa.net/std/ObsCore#core-1.1">
obscore.absent | error | ObsCore 1.1 sec. 5 | F_NOTB
    ObsCore is declared, but the table ivoa.obscore does not exist
    serve it, or remove the declaration
obscore.model | warning | ObsCore 1.1 sec. 5 | W_WODM W_IODM W_DMSS
    the data model does not have the identifier of ObsCore 1.1, or two data models are declared
    declare only ivo://ivoa.net/std/ObsCore#core-1.1
obscore.missing-column | error | ObsCore 1.1 sec. 3, table 1 | E_OCOL
    a mandatory column is missing
    add the column; most columns may be NULL
obscore.type | error | ObsCore 1.1 appendix C | E_TYPX W_TYPI
    a column's datatype differs from the standard
    use the standard's datatype
obscore.unit | error | ObsCore 1.1 appendix C | E_CUNI
    the unit of a column is different from the standard's
    convert the values, and use exactly this unit
obscore.ucd | error | ObsCore 1.1 appendix C | E_CUCD
    the UCD of a column is different from the standard's
    use the UCD of the standard
obscore.utype | error | ObsCore 1.1 appendix C | E_CUTP
    the utype of a column is different from the standard's
    use the utype of the standard, with the prefix obscore:
obscore.condition | error | TAP 1.1 sec. 2.7; ADQL 2.1 sec. 2.2 | E_QERR E_QERX
    a plain ADQL condition on a column fails
    read the service's own message, and check the column's type
obscore.null | error | ObsCore 1.1 appendix C | E_HNUL
    a column that must have a value in each row is null
    write a value
obscore.product-type | error | ObsCore 1.1 sec. 3.3.1 | E_ILOP
    a dataproduct_type is not in the list
    use image, cube, spectrum, sed, timeseries, visibility, event, measurements or NULL
obscore.calib-level | error | ObsCore 1.1 sec. 3.3.2 | E_RANG
    a calib_level is outside 0..4
    use 0 (raw) to 4 (analysis product)
obscore.option | warning | ObsCore 1.1 appendix B | W_NSOP
    a value is not among the standard's terms
    use the standard's terms
obscore.interval-order | error | ObsCore 1.1 appendix B
    an interval's minimum is above its maximum
    swap them
obscore.position | error | ObsCore 1.1 appendix B.6 | E_RANG
    a position is not on the sky
    write degrees in ICRS: 0..360, -90..90
obscore.half | error | ObsCore 1.1 appendix B
    one of two columns that belong together is null
    set both columns or neither
obscore.time | warning | ObsCore 1.1 appendix B.6.3 | E_RANG
    a time is not a plausible MJD
    write MJD, not JD: subtract 2400000.5
obscore.negative | error | ObsCore 1.1 appendix B | E_RANG
    a quantity is negative
    write sizes, resolutions, exposures and numbers of pixels >= 0 (or -1 for data that are not binned)
obscore.wavelength | warning | ObsCore 1.1 appendix B.6.2 | E_RANG
    a wavelength is not in metres
    write the wavelength in vacuum in metres: 5.5e-7, not 550 or 5500
obscore.media-type | warning | ObsCore 1.1 sec. 4.7
    an access_format is not a media type
    write type/subtype
obscore.url | error | ObsCore 1.1 sec. 4.7
    an address is not a URL
    write the complete URL, with https://
obscore.did | warning | ObsCore 1.1 sec. 3.3.6; IVOA Identifiers 2.0
    obs_publisher_did is not an IVOA identifier
    write ivo://authority/path?dataset
obscore.ucd-value | warning | ObsCore 1.1 appendix B.6.4
    a value that should be a UCD is not valid
    use UCD1+
obscore.unit-value | warning | ObsCore 1.1 appendix B.6
    a value that should be a unit is not valid
    use VOUnits
obscore.polarization | error | ObsCore 1.1 appendix B.6.5
    pol_states is not in the standard's form
    write /I/Q/U/V/ in the standard's order, or NULL
obscore.polarization-number | warning | ObsCore 1.1 appendix B.6.5
    pol_xel is not the number of states in pol_states
    write the number of states, or 0 if there are none
obscore.timestamp | error | ObsCore 1.1 appendix B; DALI 1.1 sec. 3.3.3
    a date is not an ISO time
    write YYYY-MM-DD[Thh:mm:ss[.s]]
obscore.exposure | warning | ObsCore 1.1 appendix B.6.3
    the exposure is longer than the observation
    write t_exptime in seconds, and t_min and t_max in days
""")
PRODUCT_TYPES = ("image", "cube", "spectrum", "sed", "timeseries", "visibility", "event", "measurements")
PROPOSED_VALUES = {
    "data_rights": ("public", "secure", "proprietary"),
    "s_calib_status": ("uncalibrated", "raw", "calibrated"),
    "em_calib_status": ("calibrated", "uncalibrated", "relative", "absolute"),
    "t_calib_status": ("calibrated", "uncalibrated", "relative", "raw"),
    "o_calib_status": ("absolute", "relative", "normalized", "any"),
}
POLARIZATION_STATES = ["I", "Q", "U", "V", "RR", "LL", "RL", "LR", "XX", "YY", "XY", "YX", "POLI", "POLA"]
POSITIVE_COLUMNS = (
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
PIXEL_COUNT_COLUMNS = ("s_xel1", "s_xel2", "t_xel", "em_xel", "pol_xel")
MEDIA_TYPE_PATTERN = r"[\w.+-]+/[\w.+-]+(\s*;.*)?"
OBSCORE_MODEL_ID = "ivo://ivoa.net/std/obscore#core-1.1"
KEY_COLUMNS = ("obs_publisher_did", "obs_id")


def _check_obscore_table(service: ExaminedTapService, collector: FindingCollector) -> None:
    table = service.declared_tables.get("ivoa.obscore")
    models = []
    for ivoid, model_text in service.capabilities.data_models:
        names_obscore = "obscore" in f"{ivoid} {model_text}".lower()
        if names_obscore and "radio" not in ivoid.lower():
            models.append(ivoid)
    if table is None:
        if models:
            collector.add_finding("obscore.absent", value=models[0])
        collector.add_unchecked_reason("there is no table ivoa.obscore")
        return
    if not models:
        collector.add_finding("obscore.undeclared", table=table.name)
    elif len(models) > 1 or models[0].lower() != OBSCORE_MODEL_ID:
        collector.add_finding("obscore.model", value=", ".join(models))
    for standard_column in load_standard_columns("obscore").values():
        column = table.find_column(standard_column.name)
        if column is not None:
            _check_obscore_column(table, column, standard_column, collector)
        elif standard_column.is_mandatory:
            collector.add_finding("obscore.missing-column", table=table.name, column=standard_column.name)
    try:
        row_rules.check_row_rules(service, collector, table, _build_obscore_rules(), KEY_COLUMNS)
    except UserError as error:
        collector.add_unchecked_reason(f"{table.name}: {error.message}")


def _check_obscore_column(
    table: DeclaredTable, column: DeclaredColumn, standard_column: StandardColumn, collector: FindingCollector
) -> None:
    location: dict[str, Any] = {"table": table.name, "column": column.name}
    if not is_allowed_datatype(standard_column.type, column):
        collector.add_finding("obscore.type", f"it must be {standard_column.type}", **location, value=column.datatype)
    if column.unit != standard_column.unit:
        detail = f"it must be {standard_column.unit or 'none'}"
        collector.add_finding("obscore.unit", detail, **location, value=column.unit or "none")
    allowed_ucds = {standard_column.ucd.lower()}
    if standard_column.name == "bib_reference":
        allowed_ucds.add("meta.bib.bibcode")
    if column.ucd.lower() not in allowed_ucds:
        detail = f"it must be {standard_column.ucd}"
        collector.add_finding("obscore.ucd", detail, **location, value=column.ucd or "none")
    if column.utype.lower() != standard_column.utype.lower():
        detail = f"it must be {standard_column.utype}"
        collector.add_finding("obscore.utype", detail, **location, value=column.utype or "none")


def _build_obscore_rules() -> list[RowRule]:
    return [
        *row_rules.build_not_null_rules("obscore.null", "obscore"),
        *_build_vocabulary_rules(),
        *_build_range_rules(),
        *_build_text_form_rules(),
        row_rules.RowRule(
            code="obscore.polarization-number",
            columns=("pol_xel", "pol_states"),
            is_broken=_is_polarization_count_wrong,
        ),
        row_rules.RowRule(
            code="obscore.exposure",
            columns=("t_exptime", "t_min", "t_max"),
            is_broken=_is_exposure_too_long,
            broken_condition="t_exptime > (t_max - t_min) * 86400 * 1.01 + 1",
        ),
    ]


def _build_vocabulary_rules() -> list[RowRule]:
    rules = [row_rules.build_allowed_values_rule("obscore.product-type", "dataproduct_type", PRODUCT_TYPES)]
    rules += [
        row_rules.build_allowed_values_rule("obscore.option", name, words) for name, words in PROPOSED_VALUES.items()
    ]
    return rules


def _build_range_rules() -> list[RowRule]:
    rules = [
        row_rules.build_range_rule("obscore.calib-level", "calib_level", 0, 4),
        row_rules.build_range_rule("obscore.position", "s_ra", 0, 360),
        row_rules.build_range_rule("obscore.position", "s_dec", -90, 90),
    ]
    for name in ("t", "em", "s_resolution", "em_res_power"):
        order_rule = row_rules.build_order_rule("obscore.interval-order", f"{name}_min", f"{name}_max")
        rules.append(order_rule)
    for first_name, second_name in (("s_ra", "s_dec"), ("t_min", "t_max"), ("em_min", "em_max")):
        rules.append(row_rules.build_both_or_neither_rule("obscore.half", first_name, second_name))
    for end in ("min", "max"):
        rules.append(row_rules.build_range_rule("obscore.time", f"t_{end}", -100000, 100000))
        rules.append(row_rules.build_range_rule("obscore.wavelength", f"em_{end}", 1e-22, 1e6))
    rules += [row_rules.build_range_rule("obscore.negative", name, 0, 1e300) for name in POSITIVE_COLUMNS]
    rules += [row_rules.build_range_rule("obscore.negative", name, -1, 1e18) for name in PIXEL_COUNT_COLUMNS]
    return rules


def _build_text_form_rules() -> list[RowRule]:
    rules = [
        row_rules.build_pattern_rule("obscore.media-type", "access_format", MEDIA_TYPE_PATTERN, distinct=True),
        row_rules.build_pattern_rule("obscore.url", "access_url", r"(https?|ftp)://[^\s/]+\S*"),
        row_rules.build_pattern_rule("obscore.did", "obs_publisher_did", r"ivo://[^\s/?#]+\S*"),
        row_rules.build_value_check_rule(
            "obscore.polarization", "pol_states", _has_invalid_polarization_states, distinct=True
        ),
    ]
    for axis in ("o", "s", "em"):
        rules.append(
            row_rules.build_value_check_rule("obscore.ucd-value", f"{axis}_ucd", _is_invalid_ucd, distinct=True)
        )
        rules.append(
            row_rules.build_value_check_rule("obscore.unit-value", f"{axis}_unit", _is_invalid_unit, distinct=True)
        )
    for name in ("obs_creation_date", "obs_release_date"):
        rules.append(row_rules.build_pattern_rule("obscore.timestamp", name, TIMESTAMP_PATTERN))  # noqa: PERF401
    return rules


def _is_invalid_ucd(ucd_text: Any) -> bool:
    return bool(units.list_ucd_problems(str(ucd_text)))


def _is_invalid_unit(unit_text: Any) -> bool:
    try:
        units.parse_unit(str(unit_text))
    except ValueError:
        return True
    return False


def _has_invalid_polarization_states(states_text: Any) -> bool:
    words = re.fullmatch(r"/((?:\w+/)+)", str(states_text))
    if words is None:
        return True
    positions = []
    for state in words[1].strip("/").split("/"):
        if state not in POLARIZATION_STATES:
            return True
        positions.append(POLARIZATION_STATES.index(state))
    return positions != sorted(set(positions))


def _is_polarization_count_wrong(row: Record) -> bool:
    states = row["pol_states"]
    number = row["pol_xel"]
    if states is None or not isinstance(number, int | float) or number < 0:
        return False
    state_count = len(str(states).strip("/").split("/"))
    return bool(number != state_count)


def _is_exposure_too_long(row: Record) -> bool:
    exposure_seconds = row["t_exptime"]
    begin = row["t_min"]
    end = row["t_max"]
    # a service that declares no datatype of VOTable sends texts
    if not all(isinstance(value, int | float) for value in (exposure_seconds, begin, end)):
        return False
    return bool(exposure_seconds > (end - begin) * 86400 * 1.01 + 1)


GROUP = CheckGroup(name="obscore", title="ObsCore", checks=OBSCORE_CHECKS, run=_check_obscore_table)
