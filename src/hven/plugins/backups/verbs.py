"""``hven backup`` and ``hven restore``: write a whole site into one file, and restore it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hven.app.api import format_size, open_site, print_json
from hven.model.errors import UsageError
from hven.plugins.backups import archive, restoration

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup file to write. It must not exist.")],
    without_data: Annotated[
        bool,
        typer.Option("--no-data", help="Leave out rows and jobs. Save only what is needed to ingest the rows again."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the whole site into one file, while the site runs."""
    with open_site(context) as site:
        backup_facts = archive.write_backup(site, file, include_rows=not without_data)
    if as_json:
        print_json(backup_facts)
        return
    rows_text = "without rows" if without_data else "with rows"
    print(f"{file}: {format_size(backup_facts['bytes'])}, {rows_text}")
    print("The backup does not contain secrets. Keep secrets.toml with your other passwords.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup file that `hven backup` wrote.")],
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help=("The site to create: a new directory, or a directory that contains only a secrets.toml."),
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine", metavar="ENGINE", help=("Store all rows in this engine (default: the engine where they were).")
        ),
    ] = None,
    check_only: Annotated[
        bool, typer.Option("--check", help="Read the whole file and compare the checksums, but restore nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Restore a site from a backup."""
    if check_only:
        archive_facts = restoration.verify_archive(file)
        if as_json:
            print_json(archive_facts)
            return
        rows_text = "with rows" if archive_facts["data"] else "without rows"
        print(
            f"{file} is intact; it contains the site {archive_facts['site']} as of {archive_facts['made']} "
            f"({rows_text}, written by Hven {archive_facts['hven']})"
        )
        return
    if directory is None:
        raise UsageError("DIR is missing", remedy="run `hven restore FILE DIR`")
    restored_facts = restoration.restore_archive(file, directory, engine=engine)
    if as_json:
        print_json(restored_facts)
        return
    print(f"{directory} contains the site {restored_facts['site']} as of {restored_facts['made']}")
    for name in restored_facts["collections"]:
        print(
            f"the backup does not contain the rows of {name}; to read them, run: hven --site "
            f"{shlex.quote(str(directory))} ingest {name}"
        )
    for line in restored_facts["yours"]:
        print(f"check: {line}")
