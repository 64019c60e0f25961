"""What this package adds: counts of what is used, the page ``/usage`` and the verb ``hven report``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="usage",
    title="Count how often collections are used, and report it (COUNTER)",
    request_observers=("hven.plugins.usage.usage_counter:UsageCounter",),
    pages="hven.plugins.usage.usage_page:PAGES",
    translations="hven.plugins.usage:texts",
    verbs={
        "report": CommandLineVerb(
            function="hven.plugins.usage.report_verb:report",
            after="status",
            examples=(
                "hven report --from 2026-01 --to 2026-03",
                "hven report stars --by month --by service --format csv",
                "hven report --format dsr --private",
            ),
        )
    },
    store_tables=PackageStateTables(names=("uses",), definitions="hven.plugins.usage.usage_records:TABLES"),
)
