"""Plans by shape: a query whose words were seen before, with other numbers and strings, skips parse, bind and plan.

The key is the sequence of tokens with literals taken out, the version of the holdings, and the reader's scope. Some
literals decide what a query means (a unit in IN_UNIT, a coordinate system): their values are part of the key too.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from hven.adql.tree import Bound
    from hven.auth import Scope
    from hven.engines import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A bound, permitted, planned query, free of the values in `slots`."""

    bound: Bound
    plan: Plan
    scope: Scope


class Shapes:
    """A bounded map from shape to plan; safe for threads, forgets the least recently used."""

    def __init__(self, size: int = 2_000) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[tuple[int, ...], dict[Any, Prepared]]] = OrderedDict()

    def find(self, key: Hashable, values: Sequence[Any]) -> Prepared | None:
        """Find a plan for this shape whose fixed literals have the values given."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        fixed, plans = entry
        found = plans.get(tuple(values[slot] for slot in fixed))
        if found is not None:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
        return found

    def keep(self, key: Hashable, values: Sequence[Any], prepared: Prepared) -> None:
        """Remember a plan; `values` are all literals of the text by slot."""
        fixed = tuple(sorted(set(range(len(values))) - prepared.bound.free))
        with self._lock:
            known = self._kept.get(key)
            if known is None or known[0] != fixed or len(known[1]) > 100:
                known = (fixed, {})
                self._kept[key] = known
            known[1][tuple(values[slot] for slot in fixed)] = prepared
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def __len__(self) -> int:
        return sum(len(plans) for _, plans in list(self._kept.values()))
