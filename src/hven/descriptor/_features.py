"""What features of GeoJSON and items of STAC say by themselves, proposed for EPN-TAP: outline, box, target and instruments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.model import shape_columns
from hven.model.sky import bodies

if TYPE_CHECKING:
    from hven.descriptor._proposing import Proposer
    from hven.descriptor._source_facts import Fact

_REGION = r"(?i)^\s*(polygon|range|circle|point)\s+[-+.0-9]"


def features(proposer: Proposer) -> None:
    """Propose from `geometry`, `bbox`, `ssys:targets`, `ssys:target_class`, `instruments` and `platform`; outlines on a body if one is named."""
    made, known = (
        proposer.made,
        {fact.source.rpartition(".")[2].lower(): fact for fact in reversed([*proposer.facts, *proposer.lists])},
    )
    shape, box = known.get("geometry"), known.get("bbox")
    if shape is None or not shape.mostly(_REGION):
        return
    _target(proposer, known)
    if (
        "instruments" in known
        and "instrument_name" not in made.settings
        and pa.types.is_list(known["instruments"].sample.type)
    ):
        made.map(
            "instrument_name", f"hashlist({known['instruments'].sql})", "guessed from instruments", known["instruments"]
        )
    if "platform" in known and "instrument_host_name" not in made.settings and known["platform"].is_text:
        made.map("instrument_host_name", f"clean({known['platform'].sql})", "guessed from platform", known["platform"])
    if not _on_a_body(proposer):
        made.fill.setdefault(
            "s_region", f"oriented({shape.sql}, 'body'), with frame: body, if these are outlines on a body"
        )
        return
    made.frame = "body"
    if "s_region" not in made.settings:
        made.map(
            "s_region", f"oriented({shape.sql}, 'body')", "guessed: GeoJSON's outlines, turned as on a body", shape
        )
        if _polygons(shape):
            made.types["s_region"] = (
                "polygon",
                "guessed: each outline is one polygon; without this, s_region is text (STC-S)",
            )
    if box is not None and "c1min" not in made.settings:
        _bounds(proposer, box)


def _polygons(shape: Fact) -> bool:
    there = shape.sample.drop_null()
    found = shape_columns.outlines(there.combine_chunks() if isinstance(there, pa.ChunkedArray) else there)
    return len(found.rows) == len(there) and not found.circle.any()


def _target(proposer: Proposer, known: dict[str, Fact]) -> None:
    made, named, classed = proposer.made, known.get("ssys:targets"), known.get("ssys:target_class")
    names = {name for name in _firsts(named) if name} if named is not None else set()
    if named is not None and names and "target_name" not in made.settings:
        found = {bodies.find(name) for name in names}
        one = next(iter(found)) if len(found) == 1 else None
        if one is not None:
            made.set("target_name", one.name, f"guessed from {named.source}")
        else:
            first = f"{named.sql}[1]" if pa.types.is_list(named.sample.type) else named.sql
            made.map("target_name", f"coalesce(target_name({first}), clean({first}))", f"guessed from {named.source}")
        made.used.add(named.source)
    if classed is not None and classed.is_text and "target_class" not in made.settings:
        made.map("target_class", f"epn_text({classed.sql})", f"guessed from {classed.source}", classed)


def _on_a_body(proposer: Proposer) -> bool:
    """Check whether the target is a body, by its name or any of its names."""
    how, text, _ = proposer.made.settings.get("target_name", ("", "", ""))
    if how == "map":
        return any(
            bodies.find(str(name)) is not None
            for fact in [*proposer.facts, *proposer.lists]
            if fact.sql in text
            for name in _firsts(fact)
            if name
        )
    if not how:
        text = (proposer.target() or "").strip("'")
    return bodies.find(text) is not None


def _bounds(proposer: Proposer, box: Fact) -> None:
    rows = [row for row in box.sample.to_pylist() if row] if pa.types.is_list(box.sample.type) else []
    half = len(rows[0]) // 2 if rows else 0
    if half not in {2, 3} or any(len(row) != 2 * half or None in row for row in rows):
        return
    west, south, east, north = (f"{box.sql}[{at}]" for at in (1, 2, half + 1, half + 2))
    all_round = any(row[half] - row[0] >= 360 for row in rows)
    for column, value, end in (("c1min", west, "0.0"), ("c1max", east, "360.0")):
        text = (
            f"CASE WHEN {east} - {west} >= 360 THEN {end} ELSE lon_360({value}) END"
            if all_round
            else f"lon_360({value})"
        )
        proposer.made.map(column, text, f"guessed from {box.source}: east longitude", box)
    proposer.made.map("c2min", south, f"guessed from {box.source}", box)
    proposer.made.map("c2max", north, f"guessed from {box.source}", box)


def _firsts(fact: Fact) -> list[str]:
    rows = fact.sample.to_pylist()
    return [row[0] for row in rows if row] if pa.types.is_list(fact.sample.type) else [row for row in rows if row]


__all__ = ["features"]
