"""Pieces of a column on several cores at once.

Numpy, GEOS and cdshealpix let go of the interpreter's lock while they compute.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

A = TypeVar("A")
B = TypeVar("B")

MAX_THREADS = 4
_THREAD_STATE = threading.local()


def map_in_threads(function: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """Compute pieces on several cores.

    Parameters
    ----------
    function
        Called with each piece, perhaps in other threads, where it has no others of its own.
    items
        Any number of them.

    Returns
    -------
    found
        What `function` gave of each, in their order.
    """
    threads = min(MAX_THREADS, os.cpu_count() or 1, len(items))
    if threads < 2 or vars(_THREAD_STATE):
        return [function(piece) for piece in items]
    with ThreadPoolExecutor(threads, initializer=setattr, initargs=(_THREAD_STATE, "busy", True)) as pool:
        return list(pool.map(function, items))
