"""What a reader sees of a site: the rows of their queries, and facts that are kept for readers who see the same."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from hven import query
from hven.model import LruCache
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from hven.services.face import ServiceContext
    from hven.site import PublishedState
    from hven.site.auth import Principal

    Fact = TypeVar("Fact")

MAX_QUERY_ROWS = 2**62


class ReaderFactCache(LruCache[Any]):
    """Facts that the ingest cannot compute, because they differ between readers."""

    def __init__(self) -> None:
        super().__init__(10_000)


class ReaderView:
    """What a reader sees of one state of a site, whatever is published meanwhile.

    Parameters
    ----------
    context
        Service context of the site.
    principal
        The reader.
    published_state
        The state that is read.
    """

    def __init__(self, context: ServiceContext, principal: Principal, published_state: PublishedState) -> None:
        self.context = context
        self.principal = principal
        self.published_state = published_state

    @cached_property
    def access_key(self) -> str:
        """What the reader may know of and which rows they see; readers with the same key get the same answers."""
        return self.published_state.find_access_key(self.principal, self.context.policies)

    @property
    def is_public(self) -> bool:
        """Whether everybody gets the answers of this reader."""
        return self.access_key == "public" and self.principal.is_anonymous

    def copy_for_everybody(self) -> ReaderView:
        """Return what everybody sees of the same state."""
        return ReaderView(self.context, ANONYMOUS_PRINCIPAL, self.published_state)

    def read_batches(self, adql: str) -> Iterator[pa.RecordBatch]:
        """Run a query without a limit of rows."""
        with query.run_query(
            adql,
            self.principal,
            site=self.context.site,
            policies=self.context.policies,
            published_state=self.published_state,
            maxrec=MAX_QUERY_ROWS,
            hard_row_limit=MAX_QUERY_ROWS,
        ) as result:
            yield from result.iterate_batches()

    def read_rows(self, adql: str) -> Iterator[dict[str, Any]]:
        """Run a query without a limit of rows; the rows have their values by column."""
        for batch in self.read_batches(adql):
            yield from batch.to_pylist()

    def find_or_compute(self, kind: str, name: str, compute: Callable[[], Fact]) -> Fact:
        """Find a fact that was computed for readers who see the same, or compute it.

        Parameters
        ----------
        kind, name
            Kind of the fact, and the data set or table of which it is one.
        compute
            Computes the fact.
        """
        fact_cache = self.context.site.get_or_create(ReaderFactCache)
        key = (kind, name, self.published_state.version, self.access_key)
        kept_fact: tuple[Fact] | None = fact_cache.find(key)
        if kept_fact is None:
            kept_fact = (compute(),)
            fact_cache.store(key, kept_fact)
        return kept_fact[0]
