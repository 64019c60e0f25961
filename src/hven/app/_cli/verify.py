"""``hven verify``: whether the files of published rows are what was written."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app._cli.context import show_json, size
from hven.app._cli.context import site as open_site
from hven.jobs import verifying
from hven.model.errors import NotFound

if TYPE_CHECKING:
    from hven.site.store import Verification

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


def verify(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A collection, or one of its tables (default: all).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the files of all snapshots with their checksums.

    What is damaged is served no more.
    """
    done = 0

    def progress(one: Verification) -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty() and not as_json:
            print(f"{done}/{len(records)}  {one.table}  {size(one.bytes)}", file=sys.stderr)

    with open_site(context) as site:
        site.current()
        every = verifying.records_of(site.store)
        records = [record for record in every if name in {None, record.collection, record.table.qualified}]
        if name is not None and not records:
            raise NotFound(f"nothing of {name!r} is kept", remedy="hven status shows what is published")
        found = verifying.verified(site.settings, site.store, site.engines, records, seen=progress)
        elsewhere = len(records) - len(found)
        damages = site.refresh().damages
    damaged = [one for one in found if one.faults]
    unknown = [one for one in found if one.unknown and not one.faults]
    if as_json:
        show_json(
            {
                "snapshots": [asdict(one) for one in found],
                "served": [asdict(one) for one in damages],
                "elsewhere": elsewhere,
            }
        )
    else:
        for one in damaged:
            print(f"damaged: {one.table} {one.snapshot}")
            for file, why in one.faults.items():
                print(f"  {file}: {why}")
        for damage in damages:
            print(damage.told)
        for one in unknown:
            print(f"not known: {one.table} {one.snapshot} was written without checksums; the next ingest writes them")
        if elsewhere:
            print(f"{elsewhere} snapshots are in a database: its own means verify them (pg_amcheck, data checksums)")
        whole = len(found) - len(damaged) - len(unknown)
        print(
            f"{len(found)} snapshots, {size(sum(one.bytes for one in found))}: {whole} as published, {len(damaged)} damaged"
        )
    if damaged:
        raise typer.Exit(1)
