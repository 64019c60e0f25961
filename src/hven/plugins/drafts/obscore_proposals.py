"""How a source's columns may be mapped to ObsCore 1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.descriptor.api.key_proposals import quote_source_name
from hven.plugins.drafts.image_guesses import FOOTPRINT_EXPRESSION

if TYPE_CHECKING:
    from hven.plugins.drafts.standard_proposals import MappingProposal, MappingProposer


def propose_obscore_mapping(proposer: MappingProposer) -> MappingProposal:
    """Propose a mapping to ObsCore 1.1."""
    proposal = proposer.proposal
    proposer.propose_columns_of_same_name()
    proposer.propose_product_access()
    proposer.propose_observation_id(
        {"obs_id", "observation_id", "obsid", "dp_id", "obs_number", "exposure_id"},
        lambda column: f"coalesce(CAST({column} AS VARCHAR), {proposer.build_row_identifier_expression()[0]})",
    )
    proposer.propose_row_identifier("obs_id")
    if "obs_publisher_did" not in proposal.settings:
        publisher_did_expression = (
            f"'ivo://' || site.authority || '/{proposer.name}?' || "
            f"url_encode({proposer.build_row_identifier_expression()[0]})"
        )
        proposal.propose_expression(
            "obs_publisher_did",
            publisher_did_expression,
            "guessed: the site's authority, and a name that no other row has",
        )
    if "obs_collection" not in proposal.settings:
        proposal.propose_constant("obs_collection", proposer.name, "guessed")
    if "calib_level" not in proposal.settings:
        proposal.propose_constant(
            "calib_level",
            "2",
            (
                "to fill: 0 raw, 1 instrumental, 2 calibrated, 3 combined, 4 result of an analysis; 2 is only a "
                "placeholder"
            ),
        )
    proposer.propose_times("t_min", "t_max", "mjd")
    proposer.propose_exposure_time("t_exptime")
    proposer.propose_spectral_range("em_min", "em_max", "m")
    if (
        proposer.position_columns is not None
        and "s_ra" not in proposal.settings
        and (proposer.position_columns[0].column.ucd or "").startswith("pos.eq.ra")
    ):
        for column, item in zip(("s_ra", "s_dec"), proposer.position_columns, strict=True):
            proposal.propose_expression(
                column, item.expression or quote_source_name(item.source), f"guessed from {item.source or 'its parts'}"
            )
            proposal.used_sources.add(item.source)
    if proposer.image_coverage == "sky" and "s_region" not in proposal.settings:
        proposal.propose_expression(
            "s_region", FOOTPRINT_EXPRESSION, "guessed: what the image covers, by its WCS cards"
        )
    source_column = proposer.find_column(
        r"^target(_?name)?$|^object(_?name)?$|targname", ucd="meta.id;src", accepts=lambda item: item.is_text
    )
    if source_column is not None:
        proposal.propose_expression(
            "target_name", f"trim({source_column.sql})", f"guessed from {source_column.source}", source_column
        )
    proposer.propose_instruments("facility_name", "instrument_name")
    if "dataproduct_type" not in proposal.settings:
        proposal.missing_values["dataproduct_type"] = (
            "image, cube, spectrum, sed, timeseries, visibility, event or measurements"
        )
    return proposal
