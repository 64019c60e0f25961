"""What this package adds: the verb ``new``, the page ``/trial``, and proposals for columns without UCD or unit."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="drafts",
    title="Draft descriptors of files, services and databases, and try files in a page",
    descriptions={
        "tap_tables": "hven.plugins.drafts.descriptions.tap_tables",
        "vizier": "hven.plugins.drafts.descriptions.vizier",
    },
    verbs={
        "new": CommandLineVerb(
            function="hven.plugins.drafts.new_verb:new",
            after="init",
            examples=(
                "hven new stars --from stars.csv",
                "hven new cubes --from 'cubes/*.fits' --kind fits --standard epn-tap",
                "hven new operations --from '$OPS_DB' --table public.cubes --live",
                "hven new paper --from https://example.org/table.csv --paper 10.5555/12345 --licence CC-BY-4.0",
            ),
        ),
    },
    column_proposals=("hven.plugins.drafts.column_proposals:propose_column_attributes",),
    pages="hven.plugins.drafts.trial.trial_page:PAGES",
    translations="hven.plugins.drafts:texts",
)
