"""``hven check --metadata``: how well each collection is described, and the lines that would make it better."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven import descriptor
from hven.app._cli.context import site as open_site
from hven.descriptor import GROUPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import typer

    from hven.descriptor import Lack, Score
    from hven.model.resource import Resource
    from hven.model.table import Table

    Scored = tuple[Score, list[Lack]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A table that is not published yet: what its descriptor says of it."""

    table: Table
    rows: int | None = None
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    updated: str = ""


def scored(context: typer.Context, resources: Sequence[Resource]) -> list[Scored]:
    """Score collections, by their tables as they are published, or as their descriptors say them."""
    with open_site(context) as site:
        known = site.current().published
        found = []
        for resource in resources:
            tables = [
                known.get(f"{resource.name}.{one.table.name}") or Written(table=one.table) for one in resource.tables
            ]
            score = descriptor.score(resource, site.settings, [one.table for one in tables])
            found.append((score, list(descriptor.lacks(resource, site.settings, tables))))
        return found


def show(found: Sequence[Scored]) -> None:
    """Print scores, each below what would better it."""
    for score, lacks in found:
        for one in lacks:
            print(one.fault)
        print(
            f"{score.collection}: {score.total} of 100 ({', '.join(f'{group} {score.percent(group)} %' for group in GROUPS)})"
        )


def listed(found: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return scores for scripts."""
    return [
        {
            "collection": score.collection, "score": score.total, **{group: score.percent(group) for group in GROUPS},
            "points": {name: round(points, 2) for name, points in score.points.items()},
            "lacks": [
                {
                    "file": one.fault.place.file, "line": one.fault.place.line, "column": one.fault.place.column, "message": one.fault.message,
                    "add": one.add, "how": one.how, "points": round(one.points, 2),
                }
                for one in lacks
            ],
        }
        for score, lacks in found
    ]  # fmt: skip
