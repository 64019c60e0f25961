"""``hven report``: what was used, by whom it was cited."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app._cli.context import show_json, show_table, size
from hven.app._cli.context import site as open_site
from hven.model.errors import NotFound, UsageError, nearest
from hven.services import citations, usage
from hven.services.face import Surroundings, known
from hven.site.auth import ANONYMOUS, OWNER

if TYPE_CHECKING:
    from hven.site import Site

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
    cited: Annotated[list[Path] | None, typer.Option("--cited", metavar="FILE", help="Count who cites collections: an export as BibTeX, or JSON of ADS, Crossref, DataCite.")] = None,
    of: Annotated[str | None, typer.Option("--of", metavar="COLLECTION", help="With --cited: all works of the files cite this one.")] = None,
) -> None:  # fmt: skip
    """Report what was used, by collection and month; or citations."""
    if form not in FORMATS:
        raise UsageError(f"there is no format {form!r:.40}", remedy=f"--format {', '.join(FORMATS)}")
    for one in by or ():
        if one not in BY:
            raise UsageError(f"lines cannot be made by {one!r:.40}", remedy=f"--by {', '.join(BY)}")
    if of is not None and not cited:
        raise UsageError("--of belongs to --cited", remedy=f"hven report --cited FILE --of {of}")
    if private and not form.startswith("dsr"):
        raise UsageError("--private belongs to --format dsr: other reports have all", remedy="leave it out")
    with open_site(context) as site:
        if cited:
            _cited(site, cited, of or collection, of=of is not None, as_json=form == "json")
            return
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


def _cited(site: Site, files: list[Path], name: str | None, *, of: bool, as_json: bool) -> None:
    resources = site.current().resources
    if name is not None and name not in resources:
        raise NotFound(f"there is no collection {name!r:.80}", remedy=nearest(name, sorted(resources)) or "hven status lists them")  # fmt: skip
    readings = {file: citations.read(file) for file in files}
    found = citations.counted(readings.values(), resources, name if of else None)
    found = {one: works for one, works in found.items() if name in {None, one}}
    if as_json:
        show_json({one: {"doi": resources[one].doi, "bibcode": resources[one].bibcode, "citations": len(works), "works": [{"id": work.id, "title": work.title, "year": work.year} for work in works.values()]} for one, works in found.items()})  # fmt: skip
    else:
        rows = [
            (one, resources[one].doi or resources[one].bibcode or "", len(works), max((work.year for work in works.values()), default="") or None)
            for one, works in found.items()
        ]  # fmt: skip
        show_table(["collection", "cited as", "citations", "newest"], rows)
        if not rows:
            print("no collection says its doi or bibcode; --of COLLECTION names the one that the works cite")
    for file, reading in readings.items():
        for why in reading.left:
            print(f"{file}: {why}", file=sys.stderr)
