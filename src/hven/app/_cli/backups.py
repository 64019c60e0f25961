"""``hven backup``, ``restore``: a whole site in one file, and back."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hven.app._cli.context import show_json, size
from hven.app._cli.context import site as open_site
from hven.model.errors import UsageError
from hven.site import archive, restoring

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The archive to write; it must not exist.")],
    bare: Annotated[
        bool, typer.Option("--no-data", help="Without rows and jobs: only what is needed to make them again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the whole site into one file, while it runs."""
    with open_site(context) as site:
        made = archive.backup(site, file, data=not bare)
    if as_json:
        show_json(made)
        return
    print(f"{file}: {size(made['bytes'])}, {'without' if bare else 'with'} rows")
    print("Secrets are not in it: keep secrets.toml with your other passwords.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An archive that `hven backup` wrote.")],
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="The site to make: not there, or empty but for its secrets.toml."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="ENGINE", help="Keep all rows there (default: where they were).")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read all of it and compare the checksums; restore nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Restore a site from a backup."""
    if check:
        found = restoring.verify(file)
        print(
            f"{file} is whole: {found['site']}, {found['made']}, Hven {found['hven']}, {'with' if found['data'] else 'without'} rows"
        )
        return
    if directory is None:
        raise UsageError("DIR is missing", remedy="hven restore FILE DIR")
    made = restoring.restore(file, directory, engine=engine)
    if as_json:
        show_json(made)
        return
    print(f"{directory}: {made['site']} as of {made['made']}")
    for name in made["collections"]:
        print(f"its rows are not in the backup: hven --site {shlex.quote(str(directory))} ingest {name}")
    for line in made["yours"]:
        print(f"look at: {line}")
