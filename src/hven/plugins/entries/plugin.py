"""What this package adds: the keys ``entries`` and ``comments``, and pages at ``/entries`` and ``/comments``."""

from __future__ import annotations

from hven.model.plugins import PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="entries",
    title="Let users propose rows and comment on rows; moderators decide",
    uses=("push",),
    settings={"citations": "hven.plugins.entries.settings:CITATIONS_SECTION"},
    pages="hven.plugins.entries.portal_pages:PAGES",
    table_pages="hven.plugins.entries.portal_pages:TABLE_PAGES",
    table_links=("hven.plugins.entries.portal_pages:ENTRY_LINKS",),
    scripts="hven.plugins.entries:scripts",
    translations="hven.plugins.entries:texts",
    table_keys={
        "entries": "hven.plugins.entries.entry_keys:ENTRIES",
        "comments": "hven.plugins.entries.entry_keys:COMMENTS",
    },
    store_tables=PackageStateTables(
        names=("entries", "entry_events", "row_comments", "cited_works"),
        definitions="hven.plugins.entries.store_tables:TABLES",
        format=2,
        oldest_format=1,
    ),
    row_changes="hven.plugins.entries.accepted_changes:list_accepted_changes",
    event_kinds={
        "entries.submitted": "hven.plugins.entries.event_kinds:SUBMITTED",
        "entries.decided": "hven.plugins.entries.event_kinds:DECIDED",
        "comments.new": "hven.plugins.entries.event_kinds:COMMENT",
        "comments.decided": "hven.plugins.entries.event_kinds:COMMENT_DECIDED",
    },
    account_removers=("hven.plugins.entries.account_removal:remove_or_anonymize_contributions",),
)
