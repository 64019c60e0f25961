"""``hven verify``: check that the files of published rows are unchanged since they were written."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli.context import format_size, open_site, print_json
from hven.jobs import snapshot_verification
from hven.model.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site import PublishedState
    from hven.site.store import SnapshotVerification

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def verify(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help=("A collection, or one of its tables (default: all collections).")),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the files of all snapshots with their checksums.

    Damaged snapshots are no longer served.
    """
    verified_count = 0

    def print_progress(verification: SnapshotVerification) -> None:
        nonlocal verified_count
        verified_count += 1
        if sys.stderr.isatty() and not as_json:
            size_text = format_size(verification.bytes)
            print(f"{verified_count}/{len(records)} {verification.table} {size_text}", file=sys.stderr)

    with open_site(context) as site:
        site.get_published_state()
        all_records = snapshot_verification.list_all_snapshot_records(site.store)
        records = [record for record in all_records if name in {None, record.collection, record.table.qualified_name}]
        if name is not None and not records:
            raise NotFoundError(
                f"there is no snapshot of {name!r}", remedy="run `hven status` to see what is published"
            )
        verifications = snapshot_verification.verify_snapshots_and_record_results(
            site.settings, site.store, site.engines, records, on_verified=print_progress
        )
        database_count = len(records) - len(verifications)
        published_state = site.refresh_published_state()
    if as_json:
        print_json(
            {
                "snapshots": [asdict(verification) for verification in verifications],
                "served": _snapshot_damages_to_json(published_state),
                "elsewhere": database_count,
            }
        )
    else:
        _print_verification_results(verifications, published_state, database_count)
    if any(verification.faults for verification in verifications):
        raise typer.Exit(1)


def _snapshot_damages_to_json(published_state: PublishedState) -> list[dict[str, Any]]:
    return [
        {
            "table": damage.table,
            "collection": damage.collection,
            "snapshot": damage.snapshot,
            "why": damage.reason,
            "served": damage.served_snapshot,
        }
        for damage in published_state.damages
    ]


def _print_verification_results(
    verifications: Sequence[SnapshotVerification], published_state: PublishedState, database_snapshot_count: int
) -> None:
    """Print what was damaged, what could not be verified, and a summary."""
    damaged_snapshots = [verification for verification in verifications if verification.faults]
    unverified_snapshots = [
        verification for verification in verifications if verification.unknown and not verification.faults
    ]
    for verification in damaged_snapshots:
        print(f"damaged: {verification.table} {verification.snapshot}")
        for file, reason in verification.faults.items():
            print(f"  {file}: {reason}")
    for damage in published_state.damages:
        print(damage.owner_message)
    for verification in unverified_snapshots:
        print(
            f"unknown: {verification.table} {verification.snapshot} has no checksums; the next ingest writes checksums"
        )
    if database_snapshot_count:
        print(
            f"{database_snapshot_count} snapshots are in a database; use the database's own tools (pg_amcheck, "
            "data checksums) to verify them"
        )
    intact_count = len(verifications) - len(damaged_snapshots) - len(unverified_snapshots)
    size_text = format_size(sum(verification.bytes for verification in verifications))
    print(f"{len(verifications)} snapshots, {size_text}: {intact_count} intact, {len(damaged_snapshots)} damaged")
