"""How a source's columns may be mapped to EPN-TAP 2.0."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.descriptor.api.key_proposals import quote_source_name
from hven.model import units
from hven.model.sky import bodies
from hven.plugins.drafts.chain_codes import propose_contour_region
from hven.plugins.drafts.geojson_proposals import propose_mapping_from_geojson
from hven.plugins.drafts.image_guesses import FOOTPRINT_EXPRESSION

if TYPE_CHECKING:
    from hven.plugins.drafts.standard_proposals import MappingProposal, MappingProposer

_PRODUCT_TYPES_BY_MEDIA_TYPE = {
    "application/fits": "im",
    "image/png": "im",
    "image/jpeg": "im",
    "image/jp2": "im",
    "image/tiff": "im",
    "application/x-netcdf": "cu",
    "application/x-cdf": "ts",
}
_ORBIT_COLUMN_PATTERNS = {
    "diameter": r"diam(eter)?(_km)?",
    "semi_major_axis": r"a|sma|semi_?major_?axis|(pl_)?orb_?smax",
    "eccentricity": r"e|ecc(entricity)?|(pl_)?orb_?eccen",
    "inclination": r"i|incl?(ination)?|(pl_)?orb_?incl",
    "long_asc": r"om|node|long?_?asc(ending)?(_?node)?",
    "arg_perihel": r"w|peri|arg(ument)?_?peri\w*",
    "mean_anomaly": r"ma|m|mean_?anomaly",
    "mass": r"mass",
    "albedo": r"albedo|p_?v",
}


def propose_epn_tap_mapping(proposer: MappingProposer) -> MappingProposal:
    """Propose a mapping to EPN-TAP 2.0."""
    proposal = proposer.proposal
    proposer.propose_columns_of_same_name()
    propose_mapping_from_geojson(proposer)
    proposer.propose_row_identifier("granule_uid")
    proposer.propose_product_access()
    proposer.propose_observation_id(
        {"obs_id", "observation_id", "obsid", "obs_number", "orbit"},
        lambda column: f"coalesce(clean(CAST({column} AS VARCHAR)), target.granule_uid)",
    )
    proposer.propose_times("time_min", "time_max", "jd")
    proposer.propose_record_dates(
        {"creation_date": r"creat", "modification_date": r"modif|updat|revis", "release_date": r"releas|publi"}
    )
    proposer.propose_spectral_range("spectral_range_min", "spectral_range_max", "Hz")
    propose_contour_region(proposer)
    _propose_coordinates(proposer)
    target_expression = proposer.propose_target()
    if "target_class" not in proposal.settings:
        is_celestial = proposal.frame == "celestial"
        if target_expression is None:
            proposal.propose_constant(
                "target_class",
                "sky" if is_celestial else "planet",
                "to fill: what kind of target; this is a guess: planet, satellite, asteroid, comet, star, sky, "
                "exoplanet, sample ...",
            )
        elif target_expression.startswith("'"):
            body = bodies.find_solar_system_body(target_expression.strip("'"))
            proposal.propose_constant(
                "target_class", "planet" if body is None else body.target_class, "guessed from target_name"
            )
        else:
            proposal.propose_expression(
                "target_class",
                f"coalesce(target_class({target_expression}), '{'sky' if is_celestial else 'planet'}')",
                "guessed by the name; to fill: the class of targets with other names",
            )
    proposer.propose_instruments("instrument_host_name", "instrument_name")
    _propose_orbit_elements(proposer)
    proposer.propose_exposure_time("time_exp_min")
    if "dataproduct_type" not in proposal.settings:
        product_type = _PRODUCT_TYPES_BY_MEDIA_TYPE.get(proposal.settings.get("access_format", ("", "", ""))[1]) or (
            "im" if any(fact.name == "naxis2" for fact in proposer.source_columns) else "ci"
        )
        proposal.propose_constant(
            "dataproduct_type",
            product_type,
            "guessed: im images, sp spectra, ds dynamic spectra, cu cubes, ci if the row itself is the data",
        )
    proposal.missing_values.setdefault(
        "processing_level", "1 telemetry, 2 raw, 3 calibrated, 5 derived, 6 ancillary"
    ) if "processing_level" not in proposal.settings else None
    proposal.missing_values.setdefault(
        "measurement_type", "what was measured, a UCD: phot.radiance"
    ) if "measurement_type" not in proposal.settings else None
    feature = proposer.find_column(r"^(feature(_?name)?|crater(_?name)?|name)$", accepts=lambda item: item.is_text)
    if feature is not None and "feature_name" in proposer.standard_columns and proposal.frame == "body":
        proposal.propose_expression("feature_name", f"clean({feature.sql})", f"guessed from {feature.source}", feature)
    _decide_frame_and_drop_coordinates(proposer, proposal)
    return proposal


def _decide_frame_and_drop_coordinates(proposer: MappingProposer, proposal: MappingProposal) -> None:
    """Withdraw address and thumbnails without what belongs to them; add what the standard asks for."""
    for column in ("service_title", "spatial_frame_type"):
        if column == "service_title" and column in proposal.settings:
            proposal.settings.pop(column)  # it is the schema's name here
    if proposal.frame is None:
        frame = proposal.settings.pop("spatial_frame_type", None)
        fact = next((fact for fact in proposer.source_columns if fact.source.lower() == "spatial_frame_type"), None)
        if frame is not None and fact is not None:
            frame_types = set(fact.list_distinct_texts())
        else:
            frame_types = set()
        if len(frame_types) == 1:
            proposal.frame = frame_types.pop()
        else:
            proposal.frame = "none"
        if proposal.frame == "none":
            for name in [name for name in proposal.settings if re.match(r"c[123](min|max|_resol)", name)]:
                proposal.settings.pop(name)


def _propose_orbit_elements(proposer: MappingProposer) -> None:
    """Propose the size and the orbit of a body; single letters are its elements where a, e and i are there together."""
    numeric_columns = [
        fact
        for fact in proposer.source_columns
        if fact.source not in proposer.proposal.used_sources and fact.is_number and fact.is_within(0, 1e30)
    ]
    has_orbit_letters = {"a", "e", "i"} <= {fact.target_name for fact in numeric_columns}
    for column, pattern in _ORBIT_COLUMN_PATTERNS.items():
        if column not in proposer.standard_columns or column in proposer.proposal.settings:
            continue
        unit = proposer.standard_columns[column].get("unit")
        for fact in numeric_columns:
            is_convertible_unit = fact.unit is None or units.are_units_convertible(fact.unit, unit)
            if (
                is_convertible_unit
                and (has_orbit_letters or len(fact.target_name) > 2)
                and re.fullmatch(pattern, fact.target_name)
            ):
                reason = f"guessed from {fact.source}" + (
                    "" if fact.unit or not unit else f"; its unit is not given, but must be {unit}"
                )
                proposer.proposal.propose_expression(column, fact.sql, reason, fact)
                break


def _propose_coordinates(proposer: MappingProposer) -> None:
    """Propose c1 and c2: on the sky or on a body."""
    proposal = proposer.proposal
    if "c1min" in proposal.settings or proposal.let_expressions:
        return
    if proposer.image_coverage is not None and "s_region" not in proposal.settings:
        if proposer.image_coverage == "sky":
            proposal.frame = "celestial"
        else:
            proposal.frame = "body"
        proposal.optional_families = ["region"]
        proposal.propose_expression(
            "s_region", FOOTPRINT_EXPRESSION, "guessed: what the image covers, by its WCS cards; c1min .. c2max follow"
        )
        return
    if proposer.position_columns is None:
        return
    lon, lat = proposer.position_columns
    ucd = (lon.column.ucd or "").lower()
    x, y = (item.expression or quote_source_name(item.source) for item in (lon, lat))
    fact = next((fact for fact in proposer.source_columns if fact.source == lon.source), None)
    if ucd.startswith("pos.eq.ra"):
        proposal.frame = "celestial"
        proposal.propose_expression(
            "c1min",
            x if fact is None or fact.is_within(0, 360) or not fact.is_number else f"lon_360({x})",
            "guessed: right ascension and declination (ICRS)",
        )
    elif ucd.startswith(("pos.galactic", "pos.ecliptic")):
        proposal.missing_values["c1min"] = (
            "positions are galactic or ecliptic: coord1(ivo_geom_transform('GALACTIC', 'ICRS', POINT(lon, lat)))"
        )
        return
    else:
        proposal.frame = "body"
        proposal.propose_expression(
            "c1min", f"lon_360({x})", "guessed: east longitude; if it is west, write east_lon(..)"
        )
    proposal.propose_expression(
        "c2min",
        y,
        "guessed; planetocentric: if it is planetographic, write planetocentric(.., 'Mars')"
        if proposal.frame == "body"
        else "",
    )
    proposal.used_sources.update(item.source for item in (lon, lat) if item.source)
