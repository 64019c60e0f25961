"""What this package adds: the pages ``/watches``, links to them, and the service that matches and delivers."""

from __future__ import annotations

from hven.model.plugins import PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="watches",
    title="Tell accounts which rows are new in what they watch",
    uses=("changes", "notifications"),
    settings={"watches": "hven.plugins.watches.settings:WATCHES_SECTION"},
    store_tables=PackageStateTables(
        names=("watches", "watch_matches"),
        definitions="hven.plugins.watches.store_tables:TABLES",
        format=2,
        oldest_format=1,
    ),
    event_kinds={"watches.stopped": "hven.plugins.watches.watch_service:WATCH_STOPPED"},
    event_service="hven.plugins.watches.watch_service:WATCH_SERVICE",
    account_removers=("hven.plugins.watches.watch_service:remove_account_watches",),
    pages="hven.plugins.watches.watch_pages:PAGES",
    table_links=("hven.plugins.watches.watch_pages:WATCH_LINKS",),
    translations="hven.plugins.watches:texts",
)
