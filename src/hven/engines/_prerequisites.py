"""Plans that need a result which is computed once for all queries that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from hven.engines import Relation


@runtime_checkable
class PlanWithPrerequisite(Protocol):
    """A plan that needs a result which other queries need, too, such as the rows that a policy lets a reader see."""

    def find_shared_result_key(self, relations: Mapping[str, Relation]) -> Hashable:
        """Return the key of the result that must be computed before this query, once for all queries that need it.

        Parameters
        ----------
        relations
            As for `hven.engines.QueryPlan.execute`.

        Returns
        -------
        prerequisite
            A key that is equal for queries that need the same result; None if nothing must be computed before.
        """
