"""``hven check --metadata``: how well each collection is described, and the lines that would make it better."""

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
    from hven.model.resource import Resource
    from hven.model.table import Table

    Scored = tuple[CompletenessScore, list[MissingMetadata]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpublishedTable:
    """A table that is not published yet: what its descriptor says of it."""

    table: Table
    rows: int | None = None
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    updated: str = ""


def score_collections(context: typer.Context, resources: Sequence[Resource]) -> list[Scored]:
    """Score collections, by their tables as they are published, or as their descriptors say them."""
    with open_site(context) as site:
        published_tables = site.get_published_state().tables_by_name
        scores = []
        for resource in resources:
            tables = [
                published_tables.get(f"{resource.name}.{table_spec.table.name}")
                or UnpublishedTable(table=table_spec.table)
                for table_spec in resource.tables
            ]
            score = descriptor.score_collection(resource, site.settings, [table_spec.table for table_spec in tables])
            missing_metadata = descriptor.list_missing_metadata(resource, site.settings, tables)
            scores.append((score, list(missing_metadata)))
        return scores


def print_scores(scores: Sequence[Scored]) -> None:
    """Print scores, each below what would better it."""
    for score, lacks in scores:
        for lack in lacks:
            print(lack.fault)
        print(
            f"{score.collection}: {score.total} of 100 "
            f"({', '.join(f'{group} {score.compute_group_percent(group)} %' for group in FAIR_GROUPS)})"
        )


def scores_to_json(scores: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return scores for scripts."""
    return [
        {
            "collection": score.collection,
            "score": score.total,
            **{group: score.compute_group_percent(group) for group in FAIR_GROUPS},
            "points": {name: round(points, 2) for name, points in score.points.items()},
            "lacks": [
                {
                    "file": lack.fault.place.file,
                    "line": lack.fault.place.line,
                    "column": lack.fault.place.column,
                    "message": lack.fault.message,
                    "add": lack.added_text,
                    "how": lack.insertion_mode,
                    "points": round(lack.points, 2),
                }
                for lack in lacks
            ],
        }
        for score, lacks in scores
    ]
