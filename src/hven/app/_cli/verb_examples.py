"""Examples of the verbs: the help of a verb and the page of the command line show them.

A plug-in package brings the examples of its verbs in its record (`CommandLineVerb.examples`).
"""

from __future__ import annotations

VERB_EXAMPLES: dict[str, tuple[str, ...]] = {
    "init": ("hven init mysite",),
    "check": (
        "hven check stars",
        "hven check --tests --run-examples --links",
        "hven check --metadata --least 80 --subjects uat.csv --json",
        "hven check stars --for cds",
    ),
    "ingest": (
        "hven ingest stars",
        "hven ingest stars --sample 1000 --dry-run",
        "hven ingest stars --json > report.json",
    ),
    "sync": (
        "hven sync stars",
        "hven sync stars --dry-run",
        "hven sync stars --full --accept",
        "hven sync stars --unless-held --json",
    ),
    "prepare": (
        "hven prepare omega --previews",
        "hven prepare omega 'cubes/*.fits' --spectra --part 1 --through 3 --again",
        "hven prepare omega --stop --json",
    ),
    "serve": (
        "hven serve --port 8080",
        "hven serve --host 0.0.0.0 --workers 8",
        "hven serve --drain 5 --grace 60",
    ),
    "work": ("hven work --workers 4",),
    "query": (
        "hven query 'SELECT TOP 10 name, vmag FROM stars.main ORDER BY vmag'",
        "hven query 'SELECT * FROM stars.main' --format parquet --output stars.parquet --maxrec 1000000",
        "hven query 'SELECT COUNT(*) AS n FROM stars.main' --public",
        "hven query 'SELECT COUNT(*) AS n FROM stars.main' --as anna --as-of 2026-11-20",
        "hven query --epn 'target_name=Mars time=2004-01-01/2005-01-01' --table omega.epn_core --unknown --show",
        "hven query 'SELECT TOP 5 main_id FROM basic' --url https://simbad.cds.unistra.fr/simbad/sim-tap",
    ),
    "explain": ("hven explain 'SELECT name FROM stars.main WHERE vmag < 2'",),
    "status": ("hven status", "hven status --json"),
    "verify": ("hven verify", "hven verify stars --json"),
    "history": ("hven history stars", "hven history stars --rules --last 5 --json"),
    "diff": ("hven diff stars 2026-11-01", "hven diff stars R4 R6 --json"),
    "rollback": ("hven rollback stars", "hven rollback stars.main 20261120T080000000-1a2b --json"),
    "move": ("hven move stars --to postgres", "hven move stars --to duckdb --json"),
    "remove": ("hven remove stars", "hven remove stars --purge --json"),
    "audit": ("hven audit", "hven audit --object omega --by tycho --most 200 --json"),
    "schema": ("hven schema", "hven schema --output descriptor.schema.json"),
    "project": (
        "hven project list",
        "hven project show mars --json",
        "hven project add-member mars anna --role curator",
        "hven project remove-member mars anna",
    ),
    "release": (
        "hven release R4 stars --description 'Fourth release'",
        "hven release list stars --json",
        "hven release show R4",
        "hven release diff R4 R6",
        "hven release remove R4 stars",
    ),
    "schedule": (
        "hven schedule list --json",
        "hven schedule run stars",
        "hven schedule pause stars",
        "hven schedule resume stars",
    ),
    "user": (
        "hven user add anna",
        "hven user list --json",
        "hven user token anna --all",
        "hven user password anna",
        "hven user password anna --remove",
        "hven user remove anna",
    ),
    "token": (
        "hven token add anna --scope read --days 30 --for 'nightly script'",
        "hven token list anna --json",
        "hven token end 7",
    ),
    "delegate": (
        "hven delegate --json",
        "hven delegate to bob --for anna --until 2027-01-31 --where obs_collection=suv",
        "hven delegate end 3",
    ),
    "referee": (
        "hven referee add omega --until 2027-01-31 --anonymous",
        "hven referee list --json",
        "hven referee end 2",
    ),
}


def format_verb_examples(examples: tuple[str, ...]) -> str | None:
    """Write examples as the end of a help text; the sign of a word boundary makes Click keep the lines."""
    if not examples:
        return None
    lines = "\n".join(f"  {example}" for example in examples)
    return f"\b\nExamples:\n{lines}"
