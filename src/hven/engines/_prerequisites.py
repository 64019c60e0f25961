"""Plans whose queries need something that is computed once for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from hven.engines import Relation


@runtime_checkable
class PlanWithPrerequisite(Protocol):
    """A plan that needs, as the rows that a policy lets a reader see, what other queries need, too."""

    def find_prerequisite(self, relations: Mapping[str, Relation]) -> Hashable:
        """Name what must be computed before this query, once for all queries that need it.

        Parameters
        ----------
        relations
            As for `hven.engines.QueryPlan.execute`.

        Returns
        -------
        prerequisite
            Equal for queries that need the same; None: nothing is to be computed before.
        """
