"""Add the rows of images and spectra to ``ivoa.obscore``, where SIA, SSA and ObsCore find them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

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
DEFAULT_CALIBRATION_LEVEL = 2  # calibrated data, as obscore#publish of DaCHS has it by default


def build_obscore_keys(table: Element, filled_columns: Collection[str], collection: str) -> dict[str, Any]:
    """Build the key ``obscore`` of a table with images or spectra.

    Parameters
    ----------
    table
        The table with its mixins.
    filled_columns
        Columns that have a value, in lower case.
    collection
        Name of the collection.

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
    columns = IMAGE_COLUMNS if is_image else SPECTRUM_COLUMNS
    mapped = {target: column for target, column in columns.items() if column.lower() in filled_columns}
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
    return keys
