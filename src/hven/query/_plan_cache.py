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

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import QueryPlan, Relation
    from hven.formats import InfoElement
    from hven.site.auth import AccessScope

CACHE_BUDGET_BYTES = 32 * 1024**2  # bytes of plans that one process keeps, about
MAX_PLAN_BYTES = CACHE_BUDGET_BYTES // 64  # a plan that would push dozens of others out is not kept
PLAN_OVERHEAD_BYTES, PLAN_BYTES_PER_TOKEN = 12_000, 180  # bytes of a plan, and of each word of its text: measured


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedQuery:
    """A bound, permitted, planned query, free of the values in `slots`.

    Attributes
    ----------
    relations
        Where the rows of its tables are, if all are in snapshots that are published: others go with their holdings.
    """

    bound_query: BoundQuery
    plan: QueryPlan
    scope: AccessScope
    relations: Mapping[str, Relation] | None = None
    hides_rows: bool = False
    origins: tuple[InfoElement, ...] = ()
    descriptors: tuple[str, ...] = ()


def estimate_plan_bytes(token_count: int) -> int:
    """Estimate the bytes of a plan by the number of its words."""
    return PLAN_OVERHEAD_BYTES + PLAN_BYTES_PER_TOKEN * token_count


class PlanCache:
    """A map from shape to plan, bounded by its bytes; safe for threads, forgets the least recently used.

    Parameters
    ----------
    budget
        Bytes, about: they are estimated by the number of words.
    """

    def __init__(self, budget: int = CACHE_BUDGET_BYTES) -> None:
        self._fixed_slots: Cache[tuple[int, ...]] = Cache(
            budget // PLAN_OVERHEAD_BYTES
        )  # key -> which literals are fixed
        self._plans: Cache[PreparedQuery] = Cache(budget, MAX_PLAN_BYTES)  # by key and the values of these
        self._planning_locks: dict[
            Hashable, tuple[threading.Lock, int]
        ] = {}  # with the number of threads that plan or wait
        self._lock = threading.Lock()

    @contextmanager
    def lock_shape(self, shape_key: Hashable) -> Iterator[None]:
        """Let one thread plan a shape at a time: after a change of rights many readers ask the same at once.

        Parameters
        ----------
        shape_key
            Of the shape; None: nobody waits.
        """
        if (
            shape_key is None or self._fixed_slots.find(shape_key) is not None
        ):  # it is known, or planned for other literals: that takes no herd
            yield
            return
        with self._lock:
            lock, thread_count = self._planning_locks.get(shape_key, (threading.Lock(), 0))
            self._planning_locks[shape_key] = lock, thread_count + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, thread_count = self._planning_locks.pop(shape_key)
                if thread_count > 1:
                    self._planning_locks[shape_key] = lock, thread_count - 1

    def find(self, shape_key: Hashable, literal_values: Sequence[Any]) -> PreparedQuery | None:
        """Find a plan for this shape whose fixed literals have the values given."""
        fixed = self._fixed_slots.find(shape_key)
        if fixed is None:
            return None
        return self._plans.find((shape_key, tuple(literal_values[slot] for slot in fixed)))

    def store(
        self, shape_key: Hashable, literal_values: Sequence[Any], prepared: PreparedQuery, *, token_count: int = 0
    ) -> None:
        """Remember a plan.

        Parameters
        ----------
        literal_values
            All literals of the text by slot.
        token_count
            How many the text has.
        """
        fixed = tuple(sorted(set(range(len(literal_values))) - prepared.bound_query.free_slots))
        # a fixed value decided which others are: rare, and planned anew each time
        if self._fixed_slots.find(shape_key) not in {None, fixed}:
            return
        self._fixed_slots.store(shape_key, fixed)
        self._plans.store(
            (shape_key, tuple(literal_values[slot] for slot in fixed)), prepared, estimate_plan_bytes(token_count)
        )

    def __len__(self) -> int:
        return len(self._plans)
