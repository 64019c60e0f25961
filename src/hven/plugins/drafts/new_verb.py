"""``hven new``: write a first descriptor."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app.api import format_command, load_site_settings
from hven.model import plugins
from hven.model.errors import UsageError
from hven.model.settings import resolve_secret
from hven.plugins.drafts import document_drafts, drafting
from hven.plugins.drafts.database_tables import copy_connection_line_to_secrets, store_address_secret

if TYPE_CHECKING:
    from hven.model.settings import Settings


def new(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection: letters, digits, underscores.")],
    source: Annotated[
        str, typer.Option("--from", metavar="FILE|URL", help="File or address of the data.", show_default=False)
    ] = "",
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", help=("Kind of source: csv, fits, votable, parquet, sql ... (default: Hven recognises the file).")
        ),
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", help="Name or number of the table, if the file or database has several.")
    ] = None,
    is_live: Annotated[
        bool, typer.Option("--live", help="Publish a PostgreSQL table in place, without a copy.")
    ] = False,
    standard: Annotated[
        str | None, typer.Option("--standard", help="Map the columns to epn-tap or obscore, as far as Hven can guess.")
    ] = None,
    paper_ids: Annotated[
        list[str] | None,
        typer.Option(
            "--paper",
            metavar="DOI|BIBCODE",
            help=(
                "The paper to which the data belong. Hven copies the table and files. Repeat the option for several "
                "identifiers."
            ),
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="With --paper: the licence as the authors state it.")
    ] = None,
) -> None:
    """Write a first draft of a descriptor, from a file or an address."""
    if not source:
        collection_name = _propose_collection_name(name)
        data_path = "FILE"
        if collection_name != name:
            data_path = shlex.quote(name)
        raise UsageError(
            "--from is missing; it specifies the file or the address of the data",
            remedy=f"run {format_command(context, 'new', collection_name, '--from', data_path)}",
        )
    site_settings = load_site_settings(context)
    check_command = format_command(context, "check", name)
    ingest_command = format_command(context, "ingest", name)
    if paper_ids:
        descriptor_path = drafting.create_descriptor_for_paper(
            site_settings, name, source, paper_ids, licence=licence, kind=kind, table=table, standard=standard
        )
        print(f"wrote {descriptor_path}")
        next_step = f"Review it, then run: {check_command} && {ingest_command}"
        if any(package.identifiers for package in plugins.list_plugin_packages()):
            next_step += f"; to give the collection its own DOI, run: {format_command(context, 'doi', name)}"
        print(next_step)
        return
    if licence:
        raise UsageError("--licence needs --paper", remedy="add `licence` to the descriptor")
    document_path = Path.cwd() / Path(source).expanduser()
    document_module = document_drafts.find_document_module(document_path)
    if document_module is not None:
        document_drafts.refuse_table_options(kind=kind, table=table, standard=standard, live=is_live)
        _write_document_drafts(context, site_settings, name, document_path, document_module)
        return
    source, notes = copy_connection_line_to_secrets(site_settings.directory, name, source)
    for note in notes:
        print(note)
    path = drafting.create_descriptor(
        site_settings,
        name,
        source,
        kind="live" if is_live else kind,
        table=table,
        standard=standard,
        resolve_secret=partial(resolve_secret, site_settings.directory),
    )
    print(f"wrote {path}")
    if _is_file_outside(source, site_settings.directory):
        print(
            f"Hven reads {source} in place, so `hven backup` does not save the data; to back up the data, move "
            "the files to the descriptor's directory, and change the path in the descriptor"
        )
    next_commands = [check_command]
    if not is_live and kind != "live":
        next_commands.append(ingest_command)
    print(f"Review it, then run: {' && '.join(next_commands)}")


def _write_document_drafts(context: typer.Context, site_settings: Settings, name: str, path: Path, module: Any) -> None:
    """Write the collections that a document of another publishing program describes."""
    request = document_drafts.DocumentDraftRequest(
        settings=site_settings,
        name=name,
        path=path,
        store_connection=lambda collection, file: copy_connection_line_to_secrets(
            site_settings.directory, collection, str(file)
        ),
        store_address=partial(store_address_secret, site_settings.directory),
    )
    for descriptor_path, draft in document_drafts.write_collection_drafts(request, module):
        print(f"wrote {descriptor_path}")
        for file_name in draft.files:
            print(f"wrote {descriptor_path.parent / file_name}")
        for note in draft.notes:
            print(note)
        check_command = format_command(context, "check", draft.name)
        print(f"Review it, then run: {check_command} && {format_command(context, 'ingest', draft.name)}")


def _propose_collection_name(name: str) -> str:
    """Propose the name of a collection for a user who wrote the name of a file instead."""
    return re.sub(r"\W+", "_", Path(name).stem.lower(), flags=re.ASCII).strip("_") or "NAME"


def _is_file_outside(source: str, site_directory: Path) -> bool:
    """Return whether a source names files, by a path or pattern, that are outside of the site."""
    source_path = Path(source).expanduser().absolute()
    pattern = str(source_path.relative_to(source_path.anchor))
    first_file = next(Path(source_path.anchor).glob(pattern), None)
    if first_file is None:
        return False
    return not first_file.parent.resolve().is_relative_to(site_directory.resolve())
