"""``hven check --metadata``: score how well collections are described, with the lines that would raise the score."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven import descriptor
from hven.app._cli.context import open_site
from hven.descriptor import FAIR_GROUPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import typer

    from hven.descriptor import CompletenessScore, MissingMetadata
    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.site import PublishedTable

    Scored = tuple[CompletenessScore, list[MissingMetadata]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpublishedTable:
    """A table that is not published yet, with what its descriptor says."""

    table: Table
    rows: int | None = None
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    updated: str = ""


def score_collection_metadata(context: typer.Context, resources: Sequence[CollectionSpec]) -> list[Scored]:
    """Score collections by their published tables, or by their descriptors where a table is not published yet."""
    scores = []
    with open_site(context) as site:
        published_tables = site.get_published_state().tables_by_name
        for resource in resources:
            tables: list[PublishedTable | UnpublishedTable] = []
            for table_spec in resource.tables:
                published_table = published_tables.get(f"{resource.name}.{table_spec.table.name}")
                tables.append(published_table or UnpublishedTable(table=table_spec.table))
            score = descriptor.score_collection_metadata(resource, site.settings, [item.table for item in tables])
            missing_metadata = descriptor.list_missing_metadata(resource, site.settings, tables)
            scores.append((score, list(missing_metadata)))
    return scores


def print_metadata_scores(scores: Sequence[Scored]) -> None:
    """Print scores, each below the lines that would raise it."""
    for score, missing_items in scores:
        for item in missing_items:
            print(item.fault)
        percentages = [f"{group} {score.compute_group_percent(group)} %" for group in FAIR_GROUPS]
        print(f"{score.collection}: {score.total} of 100 ({', '.join(percentages)})")


def metadata_scores_to_json(scores: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return scores in the form of the JSON output."""
    return [
        {
            "collection": score.collection,
            "score": score.total,
            **{group: score.compute_group_percent(group) for group in FAIR_GROUPS},
            "points": {name: round(points, 2) for name, points in score.points.items()},
            "lacks": [_missing_metadata_to_json(item) for item in missing_items],
        }
        for score, missing_items in scores
    ]


def _missing_metadata_to_json(item: MissingMetadata) -> dict[str, Any]:
    return {
        "file": item.fault.place.file,
        "line": item.fault.place.line,
        "column": item.fault.place.column,
        "message": item.fault.message,
        "add": item.added_text,
        "how": item.insertion_mode,
        "points": round(item.points, 2),
    }
