"""Pieces of a column on several cores at once: numpy, GEOS and cdshealpix let go of the interpreter's lock while they compute."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

A = TypeVar("A")
B = TypeVar("B")

MOST = 4
_HERE = threading.local()


def spread(work: Callable[[A], B], pieces: Sequence[A]) -> list[B]:
    """Compute pieces on several cores.

    Parameters
    ----------
    work
        Called with each piece, perhaps in other threads, where it has no others of its own.
    pieces
        Any number of them.

    Returns
    -------
    found
        What `work` gave of each, in their order.
    """
    threads = min(MOST, os.cpu_count() or 1, len(pieces))
    if threads < 2 or vars(_HERE):
        return [work(piece) for piece in pieces]
    with ThreadPoolExecutor(threads, initializer=setattr, initargs=(_HERE, "busy", True)) as pool:
        return list(pool.map(work, pieces))
