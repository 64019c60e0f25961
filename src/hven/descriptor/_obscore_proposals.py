"""How a source's columns may be mapped to ObsCore 1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.descriptor._guesses import quoted
from hven.descriptor._image_guesses import FOOTPRINT

if TYPE_CHECKING:
    from hven.descriptor._proposing import Proposal, Proposer


def obscore(proposer: Proposer) -> Proposal:
    """Propose a mapping to ObsCore 1.1."""
    made = proposer.made
    proposer.direct()
    proposer.access()
    proposer.propose_observation_id(
        {"obs_id", "observation_id", "obsid", "dp_id", "obs_number", "exposure_id"},
        lambda column: f"coalesce(CAST({column} AS VARCHAR), {proposer.unique()[0]})",
    )
    proposer.identity("obs_id")
    if "obs_publisher_did" not in made.settings:
        did = f"'ivo://' || site.authority || '/{proposer.name}?' || url_encode({proposer.unique()[0]})"
        made.map("obs_publisher_did", did, "guessed: the site's authority, and a name that no other row has")
    if "obs_collection" not in made.settings:
        made.set("obs_collection", proposer.name, "guessed")
    if "calib_level" not in made.settings:
        made.set(
            "calib_level",
            "2",
            "to fill: 0 raw, 1 instrumental, 2 calibrated, 3 combined, 4 result of an analysis; 2 only stands here",
        )
    proposer.times("t_min", "t_max", "mjd")
    proposer.propose_exposure_time("t_exptime")
    proposer.spectrum("em_min", "em_max", "m")
    if (
        proposer.position is not None
        and "s_ra" not in made.settings
        and (proposer.position[0].column.ucd or "").startswith("pos.eq.ra")
    ):
        for column, item in zip(("s_ra", "s_dec"), proposer.position, strict=True):
            made.map(column, item.expression or quoted(item.source), f"guessed from {item.source or 'its parts'}")
            made.used.add(item.source)
    if proposer.images == "sky" and "s_region" not in made.settings:
        made.map("s_region", FOOTPRINT, "guessed: what the image covers, by its WCS cards")
    found = proposer.find(
        r"^target(_?name)?$|^object(_?name)?$|targname", ucd="meta.id;src", test=lambda item: item.is_text
    )
    if found is not None:
        made.map("target_name", f"trim({found.sql})", f"guessed from {found.source}", found)
    proposer.instruments("facility_name", "instrument_name")
    if "dataproduct_type" not in made.settings:
        made.fill["dataproduct_type"] = "image, cube, spectrum, sed, timeseries, visibility, event or measurements"
    return made
