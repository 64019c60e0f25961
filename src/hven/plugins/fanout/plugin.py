"""What this package adds: list types as job types, and the page of a list."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="fanout",
    title="Run jobs for each row of a table, and join their results",
    uses=("declared_jobs", "sky_maps"),
    job_providers=("hven.plugins.fanout.list_declarations:LIST_TYPES",),
    verbs={
        "jobs": CommandLineVerb(
            function="hven.plugins.fanout.jobs_verb:jobs",
            after="query",
            examples=(
                "hven jobs run smooth IMAGE=@m31.fits WIDTH=4 --output smoothed",
                "hven jobs run magyc --rows positions.csv RADIUS=0.2 --as tycho",
                "hven jobs run magyc --rows positions.csv --detach --url https://vo.example.org --token-file token.txt",
                "hven jobs list magyc --phase EXECUTING --limit 5 --json",
                "hven jobs show magyc/261128 --json",
                "hven jobs abort magyc/261128",
            ),
            group_help="Run jobs here or at another Hven site.",
        ),
    },
    pages="hven.plugins.fanout.list_page:PAGES",
    scripts="hven.plugins.fanout:scripts",
    translations="hven.plugins.fanout:texts",
)
