"""What features of GeoJSON and items of STAC say by themselves, proposed for EPN-TAP.

Outline, box, target and instruments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.model import shape_columns
from hven.model.sky import bodies

if TYPE_CHECKING:
    from hven.plugins.drafts.source_facts import SourceColumn
    from hven.plugins.drafts.standard_proposals import MappingProposer

_STCS_REGION_PATTERN = r"(?i)^\s*(polygon|range|circle|point)\s+[-+.0-9]"


def propose_mapping_from_geojson(proposer: MappingProposer) -> None:
    """Propose from `geometry`, `bbox`, `ssys:targets`, `ssys:target_class`, `instruments` and `platform`.

    Outlines on a body if one is named.
    """
    proposal = proposer.proposal
    facts_by_name = {
        fact.source.rpartition(".")[2].lower(): fact
        for fact in reversed([*proposer.source_columns, *proposer.list_columns])
    }
    geometry_fact = facts_by_name.get("geometry")
    bbox_fact = facts_by_name.get("bbox")
    if geometry_fact is None or not geometry_fact.is_mostly_matching(_STCS_REGION_PATTERN):
        return
    _propose_target(proposer, facts_by_name)
    if (
        "instruments" in facts_by_name
        and "instrument_name" not in proposal.settings
        and pa.types.is_list(facts_by_name["instruments"].sample.type)
    ):
        proposal.propose_expression(
            "instrument_name",
            f"hashlist({facts_by_name['instruments'].sql})",
            "guessed from instruments",
            facts_by_name["instruments"],
        )
    if (
        "platform" in facts_by_name
        and "instrument_host_name" not in proposal.settings
        and facts_by_name["platform"].is_text
    ):
        proposal.propose_expression(
            "instrument_host_name",
            f"clean({facts_by_name['platform'].sql})",
            "guessed from platform",
            facts_by_name["platform"],
        )
    if not _is_target_body(proposer):
        proposal.missing_values.setdefault(
            "s_region", f"oriented({geometry_fact.sql}, 'body'), with frame: body, if these are outlines on a body"
        )
        return
    proposal.frame = "body"
    if "s_region" not in proposal.settings:
        proposal.propose_expression(
            "s_region",
            f"oriented({geometry_fact.sql}, 'body')",
            "guessed: GeoJSON's outlines, turned as on a body",
            geometry_fact,
        )
        if _has_only_polygons(geometry_fact):
            proposal.column_types["s_region"] = (
                "polygon",
                "guessed: each outline is one polygon; without this, s_region is text (STC-S)",
            )
    if bbox_fact is not None and "c1min" not in proposal.settings:
        _propose_bounds(proposer, bbox_fact)


def _has_only_polygons(geometry_fact: SourceColumn) -> bool:
    geometries = geometry_fact.sample.drop_null()
    outlines = shape_columns.parse_simple_shapes(
        geometries.combine_chunks() if isinstance(geometries, pa.ChunkedArray) else geometries
    )
    return len(outlines.rows) == len(geometries) and not outlines.is_circle.any()


def _propose_target(proposer: MappingProposer, facts_by_name: dict[str, SourceColumn]) -> None:
    proposal = proposer.proposal
    targets_fact = facts_by_name.get("ssys:targets")
    class_fact = facts_by_name.get("ssys:target_class")
    if targets_fact is not None:
        names = {name for name in _list_first_values(targets_fact) if name}
    else:
        names = set()
    if targets_fact is not None and names and "target_name" not in proposal.settings:
        known_bodies = {bodies.find_solar_system_body(name) for name in names}
        if len(known_bodies) == 1:
            body = next(iter(known_bodies))
        else:
            body = None
        if body is not None:
            proposal.propose_constant("target_name", body.name, f"guessed from {targets_fact.source}")
        else:
            if pa.types.is_list(targets_fact.sample.type):
                first = f"{targets_fact.sql}[1]"
            else:
                first = targets_fact.sql
            proposal.propose_expression(
                "target_name", f"coalesce(target_name({first}), clean({first}))", f"guessed from {targets_fact.source}"
            )
        proposal.used_sources.add(targets_fact.source)
    if class_fact is not None and class_fact.is_text and "target_class" not in proposal.settings:
        proposal.propose_expression(
            "target_class", f"epn_text({class_fact.sql})", f"guessed from {class_fact.source}", class_fact
        )


def _is_target_body(proposer: MappingProposer) -> bool:
    """Check whether the target is a body, by its name or any of its names."""
    setting_kind, text, _ = proposer.proposal.settings.get("target_name", ("", "", ""))
    if setting_kind == "map":
        return any(
            bodies.find_solar_system_body(str(name)) is not None
            for fact in [*proposer.source_columns, *proposer.list_columns]
            if fact.sql in text
            for name in _list_first_values(fact)
            if name
        )
    if not setting_kind:
        text = (proposer.propose_target() or "").strip("'")
    return bodies.find_solar_system_body(text) is not None


def _propose_bounds(proposer: MappingProposer, bbox_fact: SourceColumn) -> None:
    if pa.types.is_list(bbox_fact.sample.type):
        rows = [row for row in bbox_fact.sample.to_pylist() if row]
    else:
        rows = []
    if rows:
        dimension_count = len(rows[0]) // 2
    else:
        dimension_count = 0
    if dimension_count not in {2, 3} or any(len(row) != 2 * dimension_count or None in row for row in rows):
        return
    west, south, east, north = (f"{bbox_fact.sql}[{at}]" for at in (1, 2, dimension_count + 1, dimension_count + 2))
    has_full_circle = any(row[dimension_count] - row[0] >= 360 for row in rows)
    for column, value, full_circle_bound in (("c1min", west, "0.0"), ("c1max", east, "360.0")):
        if has_full_circle:
            text = f"CASE WHEN {east} - {west} >= 360 THEN {full_circle_bound} ELSE lon_360({value}) END"
        else:
            text = f"lon_360({value})"
        proposer.proposal.propose_expression(
            column, text, f"guessed from {bbox_fact.source}: east longitude", bbox_fact
        )
    proposer.proposal.propose_expression("c2min", south, f"guessed from {bbox_fact.source}", bbox_fact)
    proposer.proposal.propose_expression("c2max", north, f"guessed from {bbox_fact.source}", bbox_fact)


def _list_first_values(fact: SourceColumn) -> list[str]:
    rows = fact.sample.to_pylist()
    if pa.types.is_list(fact.sample.type):
        return [row[0] for row in rows if row]
    return [row for row in rows if row]
