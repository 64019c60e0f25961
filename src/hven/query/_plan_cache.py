"""A cache of plans: a query that differs from an earlier one only in literals is not parsed, bound and planned again.

The key is the sequence of tokens without literals, the version of the published state, and the user's access. Some
literals decide what a query means (a unit in IN_UNIT, a coordinate system). Their values are part of the key, too.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model import LruCache

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import QueryPlan, Relation
    from hven.formats import InfoElement
    from hven.site.auth import AccessScope

CACHE_BUDGET_BYTES = 32 * 1024**2  # approximate size of the plans of a process
MAX_PLAN_BYTES = CACHE_BUDGET_BYTES // 64  # a larger plan would displace dozens of others and is not cached
PLAN_OVERHEAD_BYTES, PLAN_BYTES_PER_TOKEN = 12_000, 180  # measured sizes of a plan, and of each token of its text


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedQuery:
    """A query that is bound, authorised and planned, without the values of its free literals.

    Attributes
    ----------
    relations
        Qualified table name -> relation, if all tables are published snapshots; otherwise None.
    """

    bound_query: BoundQuery
    plan: QueryPlan
    scope: AccessScope
    relations: Mapping[str, Relation] | None = None
    hides_rows: bool = False
    origins: tuple[InfoElement, ...] = ()
    descriptors: tuple[str, ...] = ()


def estimate_plan_bytes(token_count: int) -> int:
    """Estimate the size of a plan from the number of tokens."""
    return PLAN_OVERHEAD_BYTES + PLAN_BYTES_PER_TOKEN * token_count


class PlanCache:
    """A cache from shape to plan with a limited size. Thread-safe; it drops the least recently used plans.

    Parameters
    ----------
    budget
        Maximum size in bytes, estimated from the numbers of tokens.
    """

    def __init__(self, budget: int = CACHE_BUDGET_BYTES) -> None:
        # shape -> slots of the literals that the plan depends on
        self._fixed_slots: LruCache[tuple[int, ...]] = LruCache(budget // PLAN_OVERHEAD_BYTES)
        # shape and values of these literals -> plan
        self._plans: LruCache[PreparedQuery] = LruCache(budget, MAX_PLAN_BYTES)
        # shape -> lock, and number of threads that plan or wait
        self._planning_locks: dict[Hashable, tuple[threading.Lock, int]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def lock_query_shape(self, shape_key: Hashable) -> Iterator[None]:
        """Let one thread plan a shape at a time: after a change of access many users send the same query at once.

        Parameters
        ----------
        shape_key
            Key of the shape; None: no thread waits.
        """
        # A known shape is planned only for literals with other fixed values, which many threads rarely do at once.
        if shape_key is None or self._fixed_slots.find(shape_key) is not None:
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
        """Find the plan of this shape for the values of its fixed literals."""
        fixed = self._fixed_slots.find(shape_key)
        if fixed is None:
            return None
        return self._plans.find((shape_key, tuple(literal_values[slot] for slot in fixed)))

    def store(
        self, shape_key: Hashable, literal_values: Sequence[Any], prepared: PreparedQuery, *, token_count: int = 0
    ) -> None:
        """Store a plan.

        Parameters
        ----------
        shape_key
            Key of the shape.
        literal_values
            Values of all literals, by slot.
        prepared
            The plan.
        token_count
            Number of tokens of the text.
        """
        fixed = tuple(sorted(set(range(len(literal_values))) - prepared.bound_query.free_slots))
        # In rare cases the value of a fixed literal decides which others are fixed: such a query is planned each time.
        if self._fixed_slots.find(shape_key) not in {None, fixed}:
            return
        self._fixed_slots.store(shape_key, fixed)
        fixed_values = tuple(literal_values[slot] for slot in fixed)
        self._plans.store((shape_key, fixed_values), prepared, estimate_plan_bytes(token_count))

    def __len__(self) -> int:
        return len(self._plans)
