"""What this package adds: verbs, the page ``/operations``, and a log of slow queries."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="operations",
    title="Find what is wrong with a site, and what slows it down",
    settings={"operations": "hven.plugins.operations.settings:OPERATIONS_SECTION"},
    pages="hven.plugins.operations.operations_page:PAGES",
    translations="hven.plugins.operations:texts",
    query_observers=("hven.plugins.operations.query_watch:QueryWatch",),
    extensions={
        "hven.health": ("hven.plugins.operations.health_facts",),
        "hven.metrics": ("hven.plugins.operations.disk_metrics",),
        "hven.link_checks": ("hven.plugins.operations.link_checks",),
    },
    event_kinds={"operations.morning": "hven.plugins.operations.event_kinds:MORNING"},
    verbs={
        "doctor": CommandLineVerb(
            function="hven.plugins.operations.doctor_verb:run_doctor",
            after="status",
            examples=("hven doctor", "hven doctor --seconds 30 --json", "hven doctor --monitor"),
        ),
        "queries": CommandLineVerb(
            function="hven.plugins.operations.queries_verb:show_queries",
            after="doctor",
            examples=("hven queries", "hven queries --days 1 --limit 3 --plan", "hven queries --json"),
        ),
        "alerts": CommandLineVerb(
            function="hven.plugins.operations.alert_rules:print_alert_rules",
            after="queries",
            examples=("hven alerts --job hven > hven-rules.yml",),
        ),
    },
)
