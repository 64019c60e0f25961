"""A site with stars, whose queries people cite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from watch_site import WatchSite, open_watch_site

from hven.model.resource import CitedResult, CollectionSpec
from hven.plugins.living_citations.citation_round import CitationRound
from hven.plugins.living_citations.citation_store import CitationFinding, CitationFindingStore
from hven.plugins.living_citations.store_tables import citation_findings
from hven.query.cited_results import compare_with_repeated_query, create_cited_result
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES


@dataclass
class CitationSite(WatchSite):
    """The site with short ways to cite."""

    @property
    def citations(self) -> CitationFindingStore:
        return self.site.store.get_or_create(CitationFindingStore)

    def describe_collection(self) -> None:
        """Let the published state have a descriptor, which pages need."""
        resource = CollectionSpec(name="stars", title="Stars", path=Path("stars.yaml"))
        object.__setattr__(self.site.get_published_state(), "resources", {"stars": resource})

    def cite(self, query: str) -> CitedResult:
        return create_cited_result(
            query, ANONYMOUS_PRINCIPAL, site=self.site, policies=DEFAULT_POLICIES, maker_name="somebody"
        )

    def look_again(self) -> None:
        self.citations.record_rest_end(0.0)
        CitationRound(self.site).run()

    def find(self, result: CitedResult) -> CitationFinding:
        (finding,) = self.citations.list_findings(citation_findings.c.id == result.id)
        return finding

    def is_same(self, result: CitedResult) -> bool:
        comparison = compare_with_repeated_query(
            result, ANONYMOUS_PRINCIPAL, site=self.site, policies=DEFAULT_POLICIES, uses_current_state=True
        )
        return bool(comparison["same"])


@contextmanager
def open_citation_site(directory: Path) -> Iterator[CitationSite]:
    with open_watch_site(directory) as opened:
        yield CitationSite(opened.site)
