"""What regions cost: footprints that are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from bench import footprints
from bench.measure import Journey


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    yield from footprints.journeys(only)
