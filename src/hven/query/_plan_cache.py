"""Plans by shape: a query whose words were seen before, with other numbers and strings, skips parse, bind and plan.

The key is the sequence of tokens with literals taken out, the version of the holdings, and the reader's reach. Some
literals decide what a query means (a unit in IN_UNIT, a coordinate system): their values are part of the key too.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model import Cache

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from hven.adql.tree import Bound
    from hven.engines import Plan, Relation
    from hven.formats import Info
    from hven.site.auth import Scope

BUDGET = 32 * 1024**2  # bytes of plans that one process keeps, about
LARGEST = BUDGET // 64  # a plan that would push dozens of others out is not kept
PLAN, WORD = 12_000, 180  # bytes of a plan, and of each word of its text: measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A bound, permitted, planned query, free of the values in `slots`.

    Attributes
    ----------
    relations
        Where the rows of its tables are, if all are in snapshots that are published: others go with their holdings.
    """

    bound: Bound
    plan: Plan
    scope: Scope
    relations: Mapping[str, Relation] | None = None
    guarded: bool = False
    origins: tuple[Info, ...] = ()
    descriptors: tuple[str, ...] = ()


def cost(words: int) -> int:
    """Estimate the bytes of a plan by the number of its words."""
    return PLAN + WORD * words


class PlanCache:
    """A map from shape to plan, bounded by its bytes; safe for threads, forgets the least recently used.

    Parameters
    ----------
    budget
        Bytes, about: they are estimated by the number of words.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._fixed: Cache[tuple[int, ...]] = Cache(budget // PLAN)  # key -> which literals are fixed
        self._kept: Cache[Prepared] = Cache(budget, LARGEST)  # by key and the values of these
        self._making: dict[Hashable, tuple[threading.Lock, int]] = {}  # with the number of threads that plan or wait
        self._lock = threading.Lock()

    @contextmanager
    def making(self, key: Hashable) -> Iterator[None]:
        """Let one thread plan a shape at a time: after a change of rights many readers ask the same at once.

        Parameters
        ----------
        key
            Of the shape; None: nobody waits.
        """
        if (
            key is None or self._fixed.find(key) is not None
        ):  # it is known, or planned for other literals: that takes no herd
            yield
            return
        with self._lock:
            lock, number = self._making.get(key, (threading.Lock(), 0))
            self._making[key] = lock, number + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, number = self._making.pop(key)
                if number > 1:
                    self._making[key] = lock, number - 1

    def find(self, key: Hashable, values: Sequence[Any]) -> Prepared | None:
        """Find a plan for this shape whose fixed literals have the values given."""
        fixed = self._fixed.find(key)
        return None if fixed is None else self._kept.find((key, tuple(values[slot] for slot in fixed)))

    def keep(self, key: Hashable, values: Sequence[Any], prepared: Prepared, *, words: int = 0) -> None:
        """Remember a plan.

        Parameters
        ----------
        values
            All literals of the text by slot.
        words
            How many the text has.
        """
        fixed = tuple(sorted(set(range(len(values))) - prepared.bound.free))
        # a fixed value decided which others are: rare, and planned anew each time
        if self._fixed.find(key) not in {None, fixed}:
            return
        self._fixed.keep(key, fixed)
        self._kept.keep((key, tuple(values[slot] for slot in fixed)), prepared, cost(words))

    def __len__(self) -> int:
        return len(self._kept)
