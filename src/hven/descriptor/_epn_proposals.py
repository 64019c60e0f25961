"""How a source's columns may be mapped to EPN-TAP 2.0."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.descriptor._chains import contoured
from hven.descriptor._features import features
from hven.descriptor._guesses import quoted
from hven.descriptor._image_guesses import FOOTPRINT
from hven.model import units
from hven.model.sky import bodies

if TYPE_CHECKING:
    from hven.descriptor._proposing import Proposal, Proposer

_KINDS = {
    "application/fits": "im",
    "image/png": "im",
    "image/jpeg": "im",
    "image/jp2": "im",
    "image/tiff": "im",
    "application/x-netcdf": "cu",
    "application/x-cdf": "ts",
}
_ELEMENTS = {
    "diameter": r"diam(eter)?(_km)?", "semi_major_axis": r"a|sma|semi_?major_?axis|(pl_)?orb_?smax", "eccentricity": r"e|ecc(entricity)?|(pl_)?orb_?eccen",
    "inclination": r"i|incl?(ination)?|(pl_)?orb_?incl", "long_asc": r"om|node|long?_?asc(ending)?(_?node)?", "arg_perihel": r"w|peri|arg(ument)?_?peri\w*",
    "mean_anomaly": r"ma|m|mean_?anomaly", "mass": r"mass", "albedo": r"albedo|p_?v",
}  # fmt: skip


def epn_tap(proposer: Proposer) -> Proposal:
    """Propose a mapping to EPN-TAP 2.0."""
    made = proposer.made
    proposer.direct()
    features(proposer)
    proposer.identity("granule_uid")
    proposer.access()
    proposer.propose_observation_id(
        {"obs_id", "observation_id", "obsid", "obs_number", "orbit"},
        lambda column: f"coalesce(clean(CAST({column} AS VARCHAR)), target.granule_uid)",
    )
    proposer.times("time_min", "time_max", "jd")
    proposer.dates(
        {"creation_date": r"creat", "modification_date": r"modif|updat|revis", "release_date": r"releas|publi"}
    )
    proposer.spectrum("spectral_range_min", "spectral_range_max", "Hz")
    contoured(proposer)
    _place(proposer)
    asked = proposer.target()
    if "target_class" not in made.settings:
        sky = made.frame == "celestial"
        if asked is None:
            made.set(
                "target_class",
                "sky" if sky else "planet",
                "to fill: what kind of target; this is a guess: planet, satellite, asteroid, comet, star, sky, exoplanet, sample ...",
            )
        elif asked.startswith("'"):
            body = bodies.find(asked.strip("'"))
            made.set("target_class", "planet" if body is None else body.target_class, "guessed from target_name")
        else:
            made.map(
                "target_class",
                f"coalesce(target_class({asked}), '{'sky' if sky else 'planet'}')",
                "guessed by the name; to fill: what targets with other names are",
            )
    proposer.instruments("instrument_host_name", "instrument_name")
    _elements(proposer)
    proposer.propose_exposure_time("time_exp_min")
    if "dataproduct_type" not in made.settings:
        kind = _KINDS.get(made.settings.get("access_format", ("", "", ""))[1]) or (
            "im" if any(fact.name == "naxis2" for fact in proposer.facts) else "ci"
        )
        made.set(
            "dataproduct_type",
            kind,
            "guessed: im images, sp spectra, ds dynamic spectra, cu cubes, ci if the row itself is the data",
        )
    made.fill.setdefault(
        "processing_level", "1 telemetry, 2 raw, 3 calibrated, 5 derived, 6 ancillary"
    ) if "processing_level" not in made.settings else None
    made.fill.setdefault(
        "measurement_type", "what was measured, a UCD: phot.radiance"
    ) if "measurement_type" not in made.settings else None
    feature = proposer.find(r"^(feature(_?name)?|crater(_?name)?|name)$", test=lambda item: item.is_text)
    if feature is not None and "feature_name" in proposer.standard and made.frame == "body":
        made.map("feature_name", f"clean({feature.sql})", f"guessed from {feature.source}", feature)
    _needed(proposer, made)
    return made


def _needed(proposer: Proposer, made: Proposal) -> None:
    """Withdraw address and thumbnails without what belongs to them; add what the standard asks for."""
    for column in ("service_title", "spatial_frame_type"):
        if column == "service_title" and column in made.settings:
            made.settings.pop(column)  # it is the schema's name here
    if made.frame is None:
        frame = made.settings.pop("spatial_frame_type", None)
        fact = next((fact for fact in proposer.facts if fact.source.lower() == "spatial_frame_type"), None)
        words = set(fact.distinct()) if frame is not None and fact is not None else set()
        made.frame = words.pop() if len(words) == 1 else "none"
        if made.frame == "none":
            for name in [name for name in made.settings if re.match(r"c[123](min|max|_resol)", name)]:
                made.settings.pop(name)


def _elements(proposer: Proposer) -> None:
    """Propose the size and the orbit of a body; single letters are its elements where a, e and i are there together."""
    left = [
        fact
        for fact in proposer.facts
        if fact.source not in proposer.made.used and fact.is_number and fact.within(0, 1e30)
    ]
    orbit = {"a", "e", "i"} <= {fact.called for fact in left}
    for column, pattern in _ELEMENTS.items():
        if column not in proposer.standard or column in proposer.made.settings:
            continue
        unit = proposer.standard[column].get("unit")
        for fact in left:
            measures = fact.unit is None or units.convertible(fact.unit, unit)
            if measures and (orbit or len(fact.called) > 2) and re.fullmatch(pattern, fact.called):
                why = f"guessed from {fact.source}" + (
                    "" if fact.unit or not unit else f": its unit is not said, it must be {unit}"
                )
                proposer.made.map(column, fact.sql, why, fact)
                break


def _place(proposer: Proposer) -> None:
    """Propose c1 and c2: on the sky or on a body."""
    made = proposer.made
    if "c1min" in made.settings or made.lets:
        return
    if proposer.images is not None and "s_region" not in made.settings:
        made.frame, made.families = "celestial" if proposer.images == "sky" else "body", ["region"]
        made.map("s_region", FOOTPRINT, "guessed: what the image covers, by its WCS cards; c1min .. c2max follow")
        return
    if proposer.position is None:
        return
    lon, lat = proposer.position
    ucd = (lon.column.ucd or "").lower()
    x, y = (item.expression or quoted(item.source) for item in (lon, lat))
    fact = next((fact for fact in proposer.facts if fact.source == lon.source), None)
    if ucd.startswith("pos.eq.ra"):
        made.frame = "celestial"
        made.map(
            "c1min",
            x if fact is None or fact.within(0, 360) or not fact.is_number else f"lon_360({x})",
            "guessed: right ascension and declination (ICRS)",
        )
    elif ucd.startswith(("pos.galactic", "pos.ecliptic")):
        made.fill["c1min"] = (
            "positions are galactic or ecliptic: coord1(ivo_geom_transform('GALACTIC', 'ICRS', POINT(lon, lat)))"
        )
        return
    else:
        made.frame = "body"
        made.map("c1min", f"lon_360({x})", "guessed: east longitude; if it is west, write east_lon(..)")
    made.map(
        "c2min",
        y,
        "guessed; planetocentric: if it is planetographic, write planetocentric(.., 'Mars')"
        if made.frame == "body"
        else "",
    )
    made.used.update(item.source for item in (lon, lat) if item.source)
