"""``hven report``: what was used."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from hven.app._cli.context import show_json, show_table, size
from hven.app._cli.context import site as open_site
from hven.model.errors import NotFound, UsageError, nearest
from hven.services import usage
from hven.services.face import Surroundings, known
from hven.site.auth import ANONYMOUS, OWNER

BY = ("collection", "table", "service", "month", "access")
FORMATS = ("text", "csv", "json", "dsr", "dsr-tsv")


def report(
    context: typer.Context,
    collection: Annotated[str | None, typer.Argument(metavar="COLLECTION", help="That one alone.")] = None,
    since: Annotated[str | None, typer.Option("--from", metavar="MONTH", help="First month: 2026-03; else January.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="MONTH", help="Last month; else this one.")] = None,
    by: Annotated[list[str] | None, typer.Option("--by", metavar="WHAT", help=f"Lines by {', '.join(BY)}; several times.")] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}; dsr is COUNTER's dataset report.")] = "text",
    private: Annotated[bool, typer.Option("--private", help="With dsr: collections that not everybody sees, too.")] = False,
) -> None:  # fmt: skip
    """Report what was used, by collection and month."""
    if form not in FORMATS:
        raise UsageError(f"there is no format {form!r:.40}", remedy=f"--format {', '.join(FORMATS)}")
    for one in by or ():
        if one not in BY:
            raise UsageError(f"lines cannot be made by {one!r:.40}", remedy=f"--by {', '.join(BY)}")
    if private and not form.startswith("dsr"):
        raise UsageError("--private belongs to --format dsr: other reports have all", remedy="leave it out")
    with open_site(context) as site:
        names = None
        if collection is not None:
            counted = {one.collection for one in site.store.uses.all()}
            everything = counted | set(site.current().resources)
            if collection not in everything:
                raise NotFound(f"there is no collection {collection!r:.80}, and none was counted", remedy=nearest(collection, sorted(everything)) or "hven report lists them")  # fmt: skip
            names = {collection}
        if form.startswith("dsr") and not private:
            seen = {schema.name for schema in site.current().catalogue(ANONYMOUS).schemas} & set(
                site.current().resources
            )
            names = seen if names is None else names & seen
        around = replace(Surroundings.of(site, OWNER), faces=known())
        _shown(usage.read(around, since, until, collections=names), around, by or ["collection", "access"], form)


def _shown(found: usage.Report, around: Surroundings, by: list[str], form: str) -> None:
    if form == "csv":
        sys.stdout.write(usage.as_csv(found))
    elif form == "json":
        show_json(usage.as_json(found))
    elif form == "dsr":
        show_json(usage.counter(found, around))
    elif form == "dsr-tsv":
        sys.stdout.write(usage.tabular(found, around))
    else:
        keys = list(dict.fromkeys([*(["collection"] if "table" in by and "collection" not in by else []), *by]))
        rows = [
            (*(part or "(site)" for part in key), sums["investigations"], sums["requests"], sums["unique_requests"], sums["files"], sums["rows"], size(sums["bytes"]))
            for key, sums in found.by(*keys).items()
        ]  # fmt: skip
        headings = [*keys, "looked at", "taken", "sessions", "files", "rows", "bytes"]
        if {"table", "service"} & set(keys):  # who took what in an hour is known of collections as a whole
            headings.pop(len(keys) + 2)
            rows = [(*row[: len(keys) + 2], *row[len(keys) + 3 :]) for row in rows]
        show_table(headings, rows, title=f"{found.since} to {found.until}")
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
