"""``hven handover`` and ``hven rebuild``: tell the next operator what to know, and make a site again elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hven.app.api import open_site, print_json
from hven.model.errors import ConflictError
from hven.plugins.packages.handover_facts import collect_handover, write_markdown
from hven.plugins.packages.seal_answers import collect_seal_answers
from hven.plugins.packages.site_rebuild import RebuildReport, restore_site_from_git

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def write_handover(
    context: typer.Context,
    *,
    seal: Annotated[bool, typer.Option("--seal", help="Answer the 16 requirements of CoreTrustSeal instead.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write a page of Markdown into a new file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write what the next operator of the site must know.

    The page has collections, sources with owners, schedules, names of secrets, incidents and decisions.
    """
    with open_site(context) as site:
        if seal:
            sections = collect_seal_answers(site)
        else:
            sections = collect_handover(site)
        site_title = site.settings.title or site.settings.name
    if as_json:
        print_json([asdict(section) for section in sections])
        return
    page_title = f"CoreTrustSeal: {site_title}" if seal else f"{site_title}: what your successor must know"
    text = write_markdown(sections, page_title)
    if output is None:
        print(text)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        message = f"{output} already exists"
        raise ConflictError(message, remedy="choose a different name, or move the existing file") from error
    print(f"wrote {output}")


def run_rebuild(
    *,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The site to make: a new directory, or one with only a secrets.toml.")
    ],
    repository: Annotated[
        str, typer.Option("--from", metavar="REPOSITORY", help="Path or address of the site's Git repository.")
    ],
    backup: Annotated[
        Path | None, typer.Option("--backup", metavar="FILE", help="A file of `hven backup`, with the system state.")
    ] = None,
    must_ingest: Annotated[
        bool, typer.Option("--ingest", help="Ingest the collections whose rows are not in the backup.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a site again from Git and a backup.

    The command lists what neither of them has: pushed rows, accounts, DOIs, secrets.
    """
    report = restore_site_from_git(directory, repository, backup, must_ingest=must_ingest)
    if as_json:
        print_json(
            {
                "collections": report.collections,
                "lost": [asdict(item) for item in report.lost],
                "replaced": report.replaced_files,
                "notes": report.notes,
            }
        )
        return
    _print_report(directory, report)


def _print_report(directory: Path, report: RebuildReport) -> None:
    print(f"{directory} is a site again")
    for name, row_count in sorted(report.collections.items()):
        print(f"  {name}: {row_count:,} rows")
    for name in report.replaced_files:
        print(f"{name}: the repository and the backup have different versions; Hven used the one from the repository")
    for item in report.lost:
        print(f"{item.kind}: {item.name}: {item.remedy}")
    for note in report.notes:
        print(f"check: {note}")
