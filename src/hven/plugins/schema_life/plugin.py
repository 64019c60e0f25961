"""What this package adds: the verb ``compare`` and the page ``/compare``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage, Verb

PLUGIN = PluginPackage(
    name="schema_life",
    title="Compare schemas with those of other services",
    pages="hven.plugins.schema_life.compare_page:PAGES",
    translations="hven.plugins.schema_life:texts",
    verbs={
        "compare": Verb(
            function="hven.plugins.schema_life.compare_verb:compare",
            after="schema",
            examples=(
                "hven compare stars 'https://archive.example/tap#public.*'",
                "hven compare stars.main draft.yaml --group ucd --fail-on unit,missing --json",
                "hven compare stars getstar.vot --format csv --output differences.csv",
                "hven compare stars getstar.vot --accept 3f2a9c1e07bd --note 'degrees since 2012' --notes notes.txt",
            ),
        ),
    },
)
