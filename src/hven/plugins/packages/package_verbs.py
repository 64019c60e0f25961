"""``hven package`` and ``hven unpack``: hand a collection over as one file, and publish such a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app.api import format_command, format_size, open_site, print_json
from hven.model.errors import SourceError, UsageError
from hven.plugins.packages.package_contents import collect_contents
from hven.plugins.packages.package_import import compute_snapshot_hash, import_package
from hven.plugins.packages.package_members import BAGIT, FORMS
from hven.plugins.packages.package_output import write_package
from hven.plugins.packages.package_reader import CUT_REMEDY, PackageReader
from hven.plugins.promotion.promotion import PromotionOptions
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL

if TYPE_CHECKING:
    from hven.plugins.packages.package_output import WrittenPackage
    from hven.plugins.packages.package_reader import PackageCheck

MAX_PRINTED_ITEMS = 20
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def write_collection_package(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    form: Annotated[
        str, typer.Option("--as", metavar="FORM", help="bagit: a bag (RFC 8493); ro-crate: an RO-Crate without bag.")
    ] = BAGIT,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The TAR file to write (default: NAME.tar).")
    ] = None,
    is_public: Annotated[
        bool, typer.Option("--public", help="Only what everybody may read, without the descriptor.")
    ] = False,
    hash_only: Annotated[bool, typer.Option("--hash", help="Print the hash of all rows, and write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Write a collection into one file for another archive.

    The file has rows, products, descriptor, documentation, provenance and checksums. To continue a file that was
    stopped, run the command again.
    """
    if form not in FORMS:
        raise UsageError(f"{form!r:.40} is not a form of packages", remedy=f"use one of {', '.join(FORMS)}")
    with open_site(context) as site:
        if hash_only:
            row_counts, snapshot_hash = compute_snapshot_hash(site, name)
            if as_json:
                print_json({"collection": name, "snapshot_hash": snapshot_hash, "rows": row_counts})
            else:
                print(snapshot_hash)
            return
        principal = ANONYMOUS_PRINCIPAL if is_public else OWNER_PRINCIPAL
        contents = collect_contents(site, name, principal)
        written = write_package(contents, form, output or Path(f"{name}.tar"))
    if as_json:
        print_json(
            {
                "file": str(written.path),
                "bytes": written.byte_count,
                "continued": written.continued_bytes,
                "snapshot_hash": written.snapshot_hash,
                "rows": written.row_counts,
                "lacking": [asdict(item) for item in written.lacking],
            }
        )
    else:
        _print_written(context, written)


def _print_written(context: typer.Context, written: WrittenPackage) -> None:
    print(f"{written.path}: {format_size(written.byte_count)}")
    if written.continued_bytes:
        print(f"continued after {format_size(written.continued_bytes)} that an earlier run had written")
    for table, row_count in written.row_counts.items():
        print(f"  {table}: {row_count:,} rows")
    print(f"hash of all rows: {written.snapshot_hash}")
    for item in written.lacking[:MAX_PRINTED_ITEMS]:
        print(f"{item.status}: {item.path}: {item.reason}")
    if len(written.lacking) > MAX_PRINTED_ITEMS:
        print(f"and {len(written.lacking) - MAX_PRINTED_ITEMS:,} more; see completeness.json in the package")
    print(f"to verify it, run: {format_command(context, 'unpack', str(written.path), '--check')}")


def unpack(
    context: typer.Context,
    *,
    path: Annotated[
        Path, typer.Argument(metavar="PACKAGE", help="A TAR file of `hven package`, or its unpacked top folder.")
    ],
    check_only: Annotated[bool, typer.Option("--check", help="Verify the package, and publish nothing.")] = False,
    may_widen: Annotated[
        bool, typer.Option("--widen", help="Publish even if more people can see a table than before.")
    ] = False,
    may_overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what this site has of the collection.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish a package of another Hven.

    Rows, files and descriptor are published in one step, after all checksums are verified.
    """
    reader = PackageReader(path)
    check = reader.verify()
    if check_only:
        _show_check(path, check, as_json=as_json)
        if not check.is_valid:
            raise typer.Exit(1)
        return
    if not check.is_valid:
        faults = [*check.problems, *(f"{name} is missing" for name in check.missing)]
        count = "1 fault" if len(faults) == 1 else f"{len(faults):,} faults"
        raise SourceError(f"{path} is not valid ({count}): {faults[0]}", remedy=CUT_REMEDY)
    with open_site(context) as site:
        options = PromotionOptions(may_widen=may_widen, may_overwrite=may_overwrite)
        report = import_package(site, reader, options)
    if as_json:
        print_json(
            {
                "collection": report.collection,
                "run": report.run,
                "snapshot_hash": report.snapshot_hash,
                "rows": report.row_counts,
                "notes": report.notes,
            }
        )
        return
    state = "publishes the same already" if report.run is None else f"is published by the run {report.run}"
    print(f"{report.collection} {state}")
    for table, row_count in report.row_counts.items():
        print(f"  {table}: {row_count:,} rows")
    print(f"hash of all rows, equal to that of the package: {report.snapshot_hash}")
    for note in report.notes:
        print(f"note: {note}")


def _show_check(path: Path, check: PackageCheck, *, as_json: bool) -> None:
    lacking = list((check.completeness or {}).get("lacking", ()))
    if as_json:
        print_json(
            {
                "valid": check.is_valid,
                "form": check.form,
                "files": check.file_count,
                "bytes": check.byte_count,
                "problems": check.problems,
                "missing": check.missing,
                "lacking": lacking,
            }
        )
        return
    word = "valid" if check.is_valid else "NOT valid"
    print(f"{path} is {word} ({check.form}, {check.file_count:,} files, {format_size(check.byte_count)})")
    for problem in check.problems:
        print(f"problem: {problem}")
    for name in check.missing[:MAX_PRINTED_ITEMS]:
        print(f"it lacks {name}")
    if len(check.missing) > MAX_PRINTED_ITEMS:
        print(f"it lacks {len(check.missing) - MAX_PRINTED_ITEMS:,} more files")
    for item in lacking[:MAX_PRINTED_ITEMS]:
        print(f"{item.get('status')}: {item.get('path')}: {item.get('reason')}")
