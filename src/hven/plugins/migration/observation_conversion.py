"""Add the rows of images and spectra to ``ivoa.obscore``, where SIA, SSA and ObsCore find them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.plugins.migration.python_expressions import quote_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hven.plugins.migration.migration_report import MigrationReport
    from hven.plugins.migration.resource_xml import Element

IMAGE_COLUMNS = {
    "s_ra": "centerAlpha",
    "s_dec": "centerDelta",
    "s_region": "coverage",
    "t_min": "dateObs",
    "t_max": "dateObs",
    "em_min": "bandpassLo",
    "em_max": "bandpassHi",
    "instrument_name": "instId",
    "access_format": "mime",
    "access_estsize": "accsize",
    "obs_id": "accref",
}
SPECTRUM_COLUMNS = {
    "obs_publisher_did": "ssa_pubDID",
    "obs_id": "accref",
    "target_name": "ssa_targname",
    "t_min": "ssa_dateObs",
    "t_max": "ssa_dateObs",
    "em_min": "ssa_specstart",
    "em_max": "ssa_specend",
    "s_region": "ssa_region",
    "instrument_name": "ssa_instrument",
    "access_format": "mime",
    "access_estsize": "accsize",
}
# parameters of obscore#publish and its kin, whose values are SQL, and the columns that they fill
PUBLICATION_PARAMETERS = {
    "accessURL": "access_url",
    "coverage": "s_region",
    "creatorDID": "obs_creator_did",
    "dec": "s_dec",
    "did": "obs_publisher_did",
    "emMax": "em_max",
    "emMin": "em_min",
    "emResPower": "em_res_power",
    "emUCD": "em_ucd",
    "emXel": "em_xel",
    "expTime": "t_exptime",
    "facilityName": "facility_name",
    "fov": "s_fov",
    "instrumentName": "instrument_name",
    "mime": "access_format",
    "oUCD": "o_ucd",
    "obsId": "obs_id",
    "polStates": "pol_states",
    "polXel": "pol_xel",
    "productType": "dataproduct_type",
    "ra": "s_ra",
    "sPixelScale": "s_pixel_scale",
    "sResolution": "s_resolution",
    "sXel1": "s_xel1",
    "sXel2": "s_xel2",
    "size": "access_estsize",
    "tMax": "t_max",
    "tMin": "t_min",
    "tResolution": "t_resolution",
    "tXel": "t_xel",
    "targetClass": "target_class",
    "targetName": "target_name",
    "title": "obs_title",
}
# parameters of ssap#hcd and its kin, and the columns that have their values in all rows
SPECTRUM_PARAMETERS = {
    "fluxUCD": "ssa_fluxucd",
    "fluxUnit": "ssa_fluxunit",
    "fluxSI": "ssa_fluxSI",
    "spectralUCD": "ssa_spectralucd",
    "spectralUnit": "ssa_spectralunit",
    "spectralSI": "ssa_spectralSI",
    "timeSI": "ssa_timeSI",
}
DEFAULT_CALIBRATION_LEVEL = 2  # calibrated data, as obscore#publish of DaCHS has it by default


def build_obscore_keys(
    table: Element, columns: Collection[str], filled_columns: Collection[str], collection: str, report: MigrationReport
) -> dict[str, Any]:
    """Build the key ``obscore`` of a table with images or spectra.

    Parameters
    ----------
    table
        The table with its mixins.
    columns
        Its columns.
    filled_columns
        Columns that have a value, in lower case.
    collection
        Name of the collection.
    report
        Where it notes what it cannot convert.

    Returns
    -------
    keys
        The value of ``obscore``; empty: the table has neither images nor spectra.
    """
    mixins = {mixin.text.removeprefix("//"): mixin for mixin in table.list_children("mixin")}
    is_image = any(name.startswith("siap") for name in mixins)
    is_spectrum = any(name.startswith("ssap#") for name in mixins)
    if not is_image and not is_spectrum:
        return {}
    publication = next((mixin for name, mixin in mixins.items() if name.startswith("obscore#")), table)
    level = publication.get_value("calibLevel")
    name = publication.get_value("collectionName", "obsCollection").strip("'\"")
    product_columns = IMAGE_COLUMNS if is_image else SPECTRUM_COLUMNS
    mapped = {target: column for target, column in product_columns.items() if column.lower() in filled_columns}
    columns_by_lower = {column.lower(): column for column in columns}
    keys: dict[str, Any] = {
        "set": {
            "dataproduct_type": "image" if is_image else "spectrum",
            "calib_level": int(level) if level.isdigit() else DEFAULT_CALIBRATION_LEVEL,
            "obs_collection": name or collection,
        }
    }
    if "obs_publisher_did" not in mapped and "accref" in filled_columns:
        keys["text"] = {"obs_publisher_did": "ivo://{site.authority}/~?{accref}"}
    if mapped:
        keys["map"] = mapped
    _add_parameters(keys, publication, columns_by_lower, report)
    return keys


def _add_parameters(
    keys: dict[str, dict[str, Any]], publication: Element, columns: Mapping[str, str], report: MigrationReport
) -> None:
    """Add what the resource descriptor states for columns of ObsCore: constants, columns, or arithmetic with them."""
    for parameter, target in PUBLICATION_PARAMETERS.items():
        value = publication.get_value(parameter)
        if publication.tag != "mixin" or not value or value.upper() == "NULL":
            continue
        names = re.findall(r"[A-Za-z_]\w*", value)
        text = re.fullmatch(r"'((?:[^']|'')*)'", value)
        if text is not None:
            section, result = "set", text[1].replace("''", "'")
        elif names and all(name.lower() in columns for name in names) and re.fullmatch(r'[\w\s."+*/()-]+', value):
            section = "map"
            result = re.sub(r'"?\b([A-Za-z_]\w*)"?', lambda match: quote_name(columns[match[1].lower()]), value)
        elif re.fullmatch(r"-?[\d.]+", value):
            section, result = "set", value
        else:
            report.add_decision(publication, f"{parameter}={value!r} is SQL: write it as {target} under `obscore`")
            continue
        for entries in keys.values():
            entries.pop(target, None)
        keys.setdefault(section, {})[target] = result


def list_spectrum_constants(table: Element, filled_columns: Collection[str]) -> dict[str, str]:
    """List the columns that the parameters of a mixin for spectra fill, and their values.

    Parameters
    ----------
    table
        The table with its mixins.
    filled_columns
        Columns that have another value, in lower case.
    """
    mixins = [mixin for mixin in table.list_children("mixin") if mixin.text.removeprefix("//").startswith("ssap#")]
    return {
        column: mixin.get_value(parameter)
        for mixin in mixins
        for parameter, column in SPECTRUM_PARAMETERS.items()
        if mixin.get_value(parameter) and column.lower() not in filled_columns
    }
