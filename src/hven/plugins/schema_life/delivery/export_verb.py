"""``hven export``: write tables as CDS and AAS want them."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app.api import open_site, print_json
from hven.model.errors import NotFoundError, StorageError, UsageError
from hven.plugins.schema_life.delivery.byte_descriptions import write_aas_table_header, write_cds_readme
from hven.plugins.schema_life.delivery.delivered_tables import (
    DEFAULT_MAX_WIDTH_BYTES,
    MAX_EXPORT_SECONDS,
    ExportDestination,
    TableExporter,
    select_delivered_tables,
)
from hven.plugins.schema_life.delivery.delivery_checks import find_private_row_faults, list_delivery_faults
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES, OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.errors import Fault
    from hven.model.resource import CollectionSpec
    from hven.plugins.schema_life.delivery.delivered_tables import DeliveredTable


def export_collection(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A collection, or one table as schema.table.")],
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Directory, which must be new or empty.")
    ] = None,
    target: Annotated[
        ExportDestination,
        typer.Option("--to", help="cds: ReadMe and data files; mrt: machine-readable tables of AAS."),
    ],
    only_check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only list what is missing from the delivery; the exit code is 1 if anything is missing."
        ),
    ] = False,
    omitted_columns: Annotated[
        list[str] | None, typer.Option("--omit", metavar="COLUMN", help="Leave this column out.")
    ] = None,
    max_width: Annotated[
        int, typer.Option("--max-width", metavar="BYTES", min=1, help="Maximum width of a column.")
    ] = DEFAULT_MAX_WIDTH_BYTES,
    has_sexagesimal_positions: Annotated[
        bool, typer.Option("--sexagesimal", help="Write the position in hours, degrees, minutes and seconds.")
    ] = False,
    is_public: Annotated[
        bool, typer.Option("--public", help="Write only what anonymous users see, not what the owner sees.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Write a collection as files of CDS or AAS, without loss."""
    if only_check == (directory is not None):
        raise UsageError("specify either a directory or --check", remedy="run `hven export NAME --to cds DIR`")
    principal = ANONYMOUS_PRINCIPAL if is_public else OWNER_PRINCIPAL
    with open_site(context) as site:
        state = site.get_published_state()
        catalogue = state.get_catalogue(principal, DEFAULT_POLICIES)
        tables = select_delivered_tables(name, list(catalogue.iterate_tables()))
        resource = state.resources.get(tables[0].schema)
        if resource is None:
            raise NotFoundError(f"{tables[0].schema} is not a collection", remedy="export a collection")
        _check_omitted_columns(omitted_columns or [], {column.name for table in tables for column in table.columns})
        exporter = TableExporter(site, state, principal)
        delivered_tables = [
            exporter.measure_table(
                table, omitted_columns or [], max_width, has_sexagesimal_positions=has_sexagesimal_positions
            )
            for table in tables
        ]
        faults = list_delivery_faults(resource, delivered_tables, needs_readme=target is ExportDestination.CDS)
        if not is_public:
            faults += find_private_row_faults(site, state, delivered_tables)
        if directory is not None:
            write_delivery(exporter, resource, delivered_tables, target, directory)
    _print_report(delivered_tables, faults, as_json=as_json)
    if only_check and faults:
        raise typer.Exit(1)


def _check_omitted_columns(omitted_columns: Sequence[str], known_names: set[str]) -> None:
    for column_name in omitted_columns:
        if column_name not in known_names:
            raise UsageError(f"there is no column {column_name!r:.80}", remedy="check the name after --omit")


def write_delivery(
    exporter: TableExporter,
    resource: CollectionSpec,
    delivered_tables: Sequence[DeliveredTable],
    target: ExportDestination,
    directory: Path,
) -> None:
    """Write all files; they appear together when they are complete.

    Parameters
    ----------
    exporter
        Reads the rows.
    resource
        The collection.
    delivered_tables
        Its tables, after they were measured.
    target
        Who gets the files.
    directory
        Directory, which must be new or empty.

    Raises
    ------
    UsageError
        The directory is not empty.
    StorageError
        The files cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is not empty", remedy="specify a new or empty directory")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".export-{directory.name}-"
        _delete_abandoned_directories(directory.parent, prefix)
        unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=directory.parent))
        try:
            _write_files(exporter, resource, delivered_tables, target, unfinished)
            unfinished.chmod(0o755)
            unfinished.replace(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        remedy = "check the free space and the permissions"
        raise StorageError(f"{directory} cannot be written: {error.strerror}", remedy=remedy) from error


def _delete_abandoned_directories(parent: Path, prefix: str) -> None:
    """Delete what exports to the same directory left when they were killed: what is older than any export takes."""
    for path in parent.glob(f"{prefix}*"):
        if time.time() - path.stat().st_mtime > 2 * MAX_EXPORT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _write_files(
    exporter: TableExporter,
    resource: CollectionSpec,
    delivered_tables: Sequence[DeliveredTable],
    target: ExportDestination,
    directory: Path,
) -> None:
    extension = "dat" if target is ExportDestination.CDS else "txt"
    file_names = _choose_file_names([delivered_table.table.name for delivered_table in delivered_tables], extension)
    for delivered_table, file_name in zip(delivered_tables, file_names, strict=True):
        with (directory / file_name).open("wb") as file:
            if target is ExportDestination.MRT:
                file.write(write_aas_table_header(resource, delivered_table, file_name).encode("ascii"))
            exporter.write_rows(delivered_table, file)
    if target is ExportDestination.CDS:
        readme = write_cds_readme(resource, delivered_tables, file_names, exporter.list_releases(resource.name))
        (directory / "ReadMe").write_text(readme, encoding="ascii")


def _choose_file_names(table_names: Sequence[str], extension: str) -> list[str]:
    """Choose names of files in lower case, which differ."""
    file_names: list[str] = []
    for table_name in table_names:
        stem = re.sub(r"[^a-z0-9_+-]+", "_", table_name.lower()) or "table"
        file_name = f"{stem}.{extension}"
        while file_name in file_names:
            stem += "_"
            file_name = f"{stem}.{extension}"
        file_names.append(file_name)
    return file_names


def _print_report(delivered_tables: Sequence[DeliveredTable], faults: Sequence[Fault], *, as_json: bool) -> None:
    if as_json:
        tables = []
        for delivered_table in delivered_tables:
            table_facts = {
                "table": delivered_table.table.qualified_name,
                "rows": delivered_table.row_count,
                "record_bytes": delivered_table.record_bytes,
            }
            tables.append(table_facts)
        fault_facts = [{"message": fault.message, "remedy": fault.remedy} for fault in faults]
        print_json({"tables": tables, "faults": fault_facts})
        return
    for delivered_table in delivered_tables:
        name = delivered_table.table.qualified_name
        typer.echo(f"{name}: {delivered_table.row_count:,} rows, {delivered_table.record_bytes:,} bytes in each line")
    for fault in faults:
        typer.echo(f"warning: {fault}")
