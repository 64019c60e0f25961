"""What this package adds: ``hven compare``, ``hven export``, ``/compare``, and ``[compare]``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="schema_life",
    title="Compare schemas with those of other services, and deliver tables to CDS and AAS",
    pages="hven.plugins.schema_life.compare_page:PAGES",
    translations="hven.plugins.schema_life:texts",
    settings={"compare": "hven.plugins.schema_life.settings:COMPARE_SECTION"},
    checks=("hven.plugins.schema_life.settings:find_address_faults",),
    event_service="hven.plugins.schema_life.scheduled_readings:SERVICE",
    extensions={
        "check.deliveries": ("hven.plugins.schema_life.delivery.delivery_checks",),
    },
    verbs={
        "compare": CommandLineVerb(
            function="hven.plugins.schema_life.compare_verb:compare",
            after="schema",
            examples=(
                "hven compare stars 'https://archive.example/tap#public.*'",
                "hven compare stars.main draft.yaml --group ucd --fail-on unit,missing --json",
                "hven compare stars getstar.vot --format csv --output differences.csv",
                "hven compare stars draft.yaml --diff",
                "hven compare stars@2026-11-01 stars --fail-on missing",
                "hven compare stars getstar.vot --accept 3f2a9c1e07bd --note 'degrees since 2012' --notes notes.txt",
            ),
        ),
        "export": CommandLineVerb(
            function="hven.plugins.schema_life.delivery.export_verb:export_collection",
            after="query",
            examples=(
                "hven export stars --to cds delivery/",
                "hven export stars.main --to mrt tables/ --omit footprint --max-width 400 --public",
                "hven export stars --to cds --sexagesimal --check --json",
            ),
        ),
    },
)
