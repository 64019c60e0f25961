"""``hven verify``: whether the files of published rows are what was written."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app._cli.context import format_size, open_site, show_json
from hven.jobs import snapshot_verification
from hven.model.errors import NotFoundError

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
    verified_count = 0

    def print_progress(verification: Verification) -> None:
        nonlocal verified_count
        verified_count += 1
        if sys.stderr.isatty() and not as_json:
            print(
                f"{verified_count}/{len(records)}  {verification.table}  {format_size(verification.bytes)}",
                file=sys.stderr,
            )

    with open_site(context) as site:
        site.get_published_state()
        all_records = snapshot_verification.list_records_to_verify(site.store)
        records = [record for record in all_records if name in {None, record.collection, record.table.qualified_name}]
        if name is not None and not records:
            raise NotFoundError(f"nothing of {name!r} is kept", remedy="hven status shows what is published")
        verifications = snapshot_verification.verify_snapshots(
            site.settings, site.store, site.engines, records, on_verified=print_progress
        )
        database_count = len(records) - len(verifications)
        damages = site.refresh_published_state().damages
    damaged_snapshots = [verification for verification in verifications if verification.faults]
    unknown_snapshots = [
        verification for verification in verifications if verification.unknown and not verification.faults
    ]
    if as_json:
        show_json(
            {
                "snapshots": [asdict(verification) for verification in verifications],
                "served": [
                    {
                        "table": damage.table,
                        "collection": damage.collection,
                        "snapshot": damage.snapshot,
                        "why": damage.reason,
                        "served": damage.served_snapshot,
                    }
                    for damage in damages
                ],
                "elsewhere": database_count,
            }
        )
    else:
        for verification in damaged_snapshots:
            print(f"damaged: {verification.table} {verification.snapshot}")
            for file, reason in verification.faults.items():
                print(f"  {file}: {reason}")
        for damage in damages:
            print(damage.owner_message)
        for verification in unknown_snapshots:
            print(
                f"not known: {verification.table} {verification.snapshot} was written without checksums; the "
                f"next ingest writes them"
            )
        if database_count:
            print(
                f"{database_count} snapshots are in a database: its own means verify them (pg_amcheck, data checksums)"
            )
        intact_count = len(verifications) - len(damaged_snapshots) - len(unknown_snapshots)
        print(
            f"{len(verifications)} snapshots, "
            f"{format_size(sum(verification.bytes for verification in verifications))}: {intact_count} as "
            f"published, {len(damaged_snapshots)} damaged"
        )
    if damaged_snapshots:
        raise typer.Exit(1)
