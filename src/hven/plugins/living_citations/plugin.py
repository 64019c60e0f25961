"""What this package adds: a service that looks at cited queries again, and what pages say about them."""

from __future__ import annotations

from hven.model.plugins import PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="living_citations",
    title="Say whether the answers of cited queries have changed",
    uses=("changes", "notifications", "watches"),
    settings={"cited_results": "hven.plugins.living_citations.settings:CITATIONS_SECTION"},
    store_tables=PackageStateTables(
        names=("citation_findings", "citation_readers", "citation_rests"),
        definitions="hven.plugins.living_citations.store_tables:TABLES",
    ),
    event_kinds={"citations.changed": "hven.plugins.living_citations.citation_service:ANSWER_CHANGED"},
    event_service="hven.plugins.living_citations.citation_service:CITATION_SERVICE",
    account_removers=("hven.plugins.living_citations.citation_service:remove_account_wishes",),
    pages="hven.plugins.living_citations.citation_pages:PAGES",
    translations="hven.plugins.living_citations:texts",
)
