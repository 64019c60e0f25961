"""Pieces of a column on several cores at once: numpy, GEOS and cdshealpix let go of the interpreter's lock while they compute."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

A = TypeVar("A")
B = TypeVar("B")

MOST = 4


def spread(work: Callable[[A], B], pieces: Sequence[A]) -> list[B]:
    """Compute all pieces, in their order; `work` may be called in other threads."""
    threads = min(MOST, os.cpu_count() or 1, len(pieces))
    if threads < 2:
        return [work(piece) for piece in pieces]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, pieces))
