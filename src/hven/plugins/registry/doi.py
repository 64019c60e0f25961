"""``hven doi``: list, draft, publish and withdraw DOIs of collections and releases, and write files for a library."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from hven.app.api import format_command, format_time, open_site, print_json, print_table
from hven.model.errors import NotFoundError, UsageError, UserError
from hven.plugins.registry import datacite, doi_minting
from hven.plugins.registry.doi_store import CitationStore
from hven.plugins.registry.settings import get_doi_settings
from hven.services import citations
from hven.services.face import ServiceContext
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from hven.model.resource import DoiRecord
    from hven.services.citations import CitationMetadata
    from hven.site import Site

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def doi(
    context: typer.Context,
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="COLLECTION", help=("The collection (default: list everything that has a DOI or was withdrawn).")
        ),
    ] = None,
    label: Annotated[
        str, typer.Option("--release", metavar="LABEL", help="Give a DOI to this release instead of the collection.")
    ] = "",
    draft: Annotated[
        bool,
        typer.Option(
            "--draft", help=("Reserve a DOI at DataCite. The DOI does not resolve yet, and you can delete it there.")
        ),
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Publish the DOI permanently, or update its metadata at DataCite.")
    ] = False,
    withdraw: Annotated[
        str | None,
        typer.Option(
            "--withdraw",
            metavar="REASON",
            help="Mark the data as withdrawn on their page and at DataCite, with this reason.",
        ),
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="FILE",
            help=("Write the metadata to this .xml or .json file, for a library that registers the DOI."),
        ),
    ] = None,
    registered_doi: Annotated[
        str | None, typer.Option("--is", metavar="DOI", help="Record the DOI that a library registered.")
    ] = None,
    suffix: Annotated[str, typer.Option("--suffix", metavar="TEXT", help="The part of the DOI after the prefix.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what Hven would send, but send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Give DOIs to collections and releases; show missing metadata."""
    options = {
        "--draft": draft,
        "--publish": publish,
        "--withdraw": withdraw is not None,
        "--to": output_file is not None,
        "--is": registered_doi is not None,
    }
    chosen_options = [option for option, is_chosen in options.items() if is_chosen]
    if len(chosen_options) > 1:
        raise UsageError(
            f"{' and '.join(chosen_options)} cannot be combined",
            remedy=f"use only one of these options, for example `hven doi NAME {chosen_options[0]}`",
        )
    if name is None:
        if chosen_options or label or suffix:
            raise UsageError(
                "the name of the collection is missing",
                remedy=f"run `{' '.join(['hven doi NAME', *chosen_options])}`",
            )
        _list_dois(context, as_json=as_json)
        return
    if withdraw is not None and len(withdraw.strip()) < 3:
        raise UsageError(
            "the reason for the withdrawal is missing; the page of the collection will show this reason permanently",
            remedy='add a reason, such as --withdraw "superseded by R6, whose fluxes are right"',
        )
    withdrawal_reason = " ".join((withdraw or "").split())
    with open_site(context) as site:
        citation = _collect_citation_metadata(site, name, label)
        if output_file is not None:
            _write_datacite_file(site, citation, output_file)
        elif registered_doi is not None:
            stored_citation = doi_minting.record_external_doi(site.store, citation, registered_doi)
            _report_doi_outcome(context, citation, stored_citation, "kept")
            _add_doi_to_descriptor(citation, stored_citation)
        elif withdraw is not None and not dry_run:
            _record_withdrawal(context, site, citation, withdrawal_reason)
        elif (draft or publish) and not dry_run:
            citation = replace(citation, withdrawal_reason="")
            state = "draft" if draft else "findable"
            stored_citation, outcome = doi_minting.mint_doi(site.settings, site.store, citation, state, suffix)
            _report_doi_outcome(context, citation, stored_citation, outcome)
            _add_doi_to_descriptor(citation, stored_citation)
        else:
            if withdraw is not None:
                citation = replace(citation, withdrawal_reason=withdrawal_reason)
            _show_doi_metadata(context, site, citation, chosen_options, suffix, as_json=as_json)


def _collect_citation_metadata(site: Site, collection_name: str, release_label: str) -> CitationMetadata:
    """Collect the metadata of what is public. Only that gets a DOI."""
    service_context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    published_state = site.get_published_state()
    try:
        catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, service_context.policies)
        return citations.collect_citation_metadata(
            service_context, published_state, catalogue, collection_name, release_label
        )
    except NotFoundError as error:
        if collection_name in published_state.resources and not release_label:
            raise NotFoundError(
                f"no table of the collection {collection_name!r} is public",
                remedy="run `hven status` to see which tables are public",
            ) from error
        raise


def _list_metadata_problems(citation: CitationMetadata) -> tuple[list[str], bool]:
    lines = []
    has_errors = False
    for severity, message in datacite.list_missing_metadata(citation):
        if severity == "error":
            has_errors = True
            lines.append(f"{citation.resource.path}: {message}")
        else:
            lines.append(f"warning: {citation.resource.path}: {message}")
    return lines, has_errors


def _show_doi_metadata(
    context: typer.Context,
    site: Site,
    citation: CitationMetadata,
    chosen_options: list[str],
    suffix: str,
    *,
    as_json: bool,
) -> None:
    stored_citation = site.store.get_or_create(CitationStore).find_doi_record(citation.resource.name, citation.label)
    doi_name = stored_citation.doi if stored_citation else None
    if not doi_name:
        if get_doi_settings(site.settings).prefix:
            doi_name = doi_minting.choose_own_or_new_doi(site.settings, citation, suffix)
        else:
            doi_name = citation.doi
    if doi_name:
        attributes = doi_minting.build_datacite_attributes(citation, doi_name)
    else:
        attributes = datacite.build_datacite_record(citation)
    lines, has_errors = _list_metadata_problems(citation)
    if as_json:
        print_json(attributes)
    else:
        print(orjson.dumps(attributes, option=orjson.OPT_INDENT_2).decode())
    state_text = "none yet"
    if stored_citation is not None and stored_citation.doi is not None:
        state_text = f"{stored_citation.state} since {format_time(stored_citation.changed)}"
    if stored_citation is not None and stored_citation.told == attributes:
        state_text += ", up to date at DataCite"
    lines.append(f"DOI {doi_name or 'from a library'}: {state_text}; nothing was sent")
    print("\n".join(lines), file=sys.stderr)
    if not chosen_options and not has_errors:
        action = "--to FILE"
        if get_doi_settings(site.settings).prefix:
            action = "--publish"
        command = format_command(context, "doi", citation.resource.name, *_build_release_arguments(citation), action)
        print(f"next: {command}", file=sys.stderr)
    if has_errors:
        raise typer.Exit(1)


def _build_release_arguments(citation: CitationMetadata) -> list[str]:
    if citation.label:
        return ["--release", citation.label]
    return []


def _write_datacite_file(site: Site, citation: CitationMetadata, output_file: Path) -> None:
    stored_citation = site.store.get_or_create(CitationStore).find_doi_record(citation.resource.name, citation.label)
    name = citation.doi
    if stored_citation and stored_citation.doi:
        name = stored_citation.doi
    attributes = datacite.build_datacite_record(citation)
    if name:
        attributes["doi"] = name
    attributes["url"] = citation.address
    lines, has_errors = _list_metadata_problems(citation)
    if output_file.suffix == ".json":
        json_document = {"data": {"type": "dois", "attributes": attributes}}
        data = orjson.dumps(json_document, option=orjson.OPT_INDENT_2) + b"\n"
    elif output_file.suffix == ".xml":
        data = datacite.write_datacite_xml(attributes).encode()
    else:
        raise UsageError(
            f"the name {output_file} ends with neither .xml nor .json",
            remedy="choose a file name that ends with .xml or .json; most libraries that register DOIs accept .xml",
        )
    print("\n".join(lines), end="\n" if lines else "", file=sys.stderr)
    if has_errors:
        raise UserError(
            f"the metadata of {citation.title!r} is not complete enough for a DOI",
            remedy="correct the errors that are listed above",
        )
    output_file.write_bytes(data)
    print(
        f"wrote the DataCite 4.6 metadata of {citation.title!r} to {output_file}; the DOI should resolve to "
        f"{citation.address}"
    )
    if not name:
        words = ["hven", "doi", citation.resource.name, *_build_release_arguments(citation), "--is", "10.xxxx/.."]
        print(f"once the DOI is registered, run: {' '.join(words)}")


def _record_withdrawal(context: typer.Context, site: Site, citation: CitationMetadata, reason: str) -> None:
    stored_citation = doi_minting.record_withdrawal(site.store, replace(citation, withdrawal_reason=""), reason)
    withdrawn_citation = replace(citation, withdrawal_reason=reason, withdrawal_date=stored_citation.changed[:10])
    stored_doi = stored_citation.doi
    own_prefix = get_doi_settings(site.settings).prefix
    is_own_doi = stored_doi and own_prefix and stored_doi.lower().startswith(f"{own_prefix}/")
    print(
        f"{citation.title!r} is withdrawn; {citation.address} shows the withdrawal and the reason, even after the data "
        "is removed"
    )
    if is_own_doi:
        withdrawn_citation = replace(withdrawn_citation, doi=stored_doi)
        doi_minting.mint_doi(site.settings, site.store, withdrawn_citation, "withdrawn")
        print(f"DataCite has recorded the withdrawal; {stored_doi} still resolves to {citation.address}")
    elif stored_doi:
        print(
            f"this site did not register {stored_doi}; report the withdrawal to the institute that registered the DOI. "
            f"The DOI should still resolve to {citation.address}"
        )
    if citation.label:
        command = format_command(context, "release", "remove", citation.label, citation.resource.name)
    else:
        command = format_command(context, "remove", citation.resource.name)
    print(f"to remove the data, run: {command}")


def _report_doi_outcome(
    context: typer.Context, citation: CitationMetadata, stored_citation: DoiRecord, outcome: str
) -> None:
    doi_name = stored_citation.doi
    print(f"https://doi.org/{doi_name} ({stored_citation.state}, {outcome}) resolves to {stored_citation.url}")
    lines, _ = _list_metadata_problems(citation)
    print("\n".join(lines), end="\n" if lines else "", file=sys.stderr)
    if stored_citation.state == "draft":
        command = format_command(
            context, "doi", citation.resource.name, *_build_release_arguments(citation), "--publish"
        )
        print(f"to publish the DOI permanently, run: {command}")


def _add_doi_to_descriptor(citation: CitationMetadata, stored_citation: DoiRecord) -> None:
    """Write the DOI of a collection into its descriptor, unless it is a draft or the descriptor has one; print that."""
    doi_name = stored_citation.doi
    has_doi = bool(citation.label) or citation.resource.doi is not None
    if stored_citation.state == "draft" or has_doi or doi_name is None:
        return
    descriptor_path = citation.resource.path
    if doi_minting.write_doi_to_descriptor(descriptor_path, doi_name):
        print(f"wrote `doi: {doi_name}` to {descriptor_path}")
    else:
        print(f"add `doi: {doi_name}` to {descriptor_path}, so that results and registries cite the DOI")


def _list_dois(context: typer.Context, *, as_json: bool) -> None:
    with open_site(context) as site:
        citation_records = site.store.get_or_create(CitationStore).list_citations()
    rows: list[dict[str, Any]] = [
        {
            "collection": record.collection,
            "release": record.label,
            "doi": record.doi,
            "state": record.state,
            "changed": record.changed,
            "url": record.url,
            "reason": record.reason,
        }
        for record in citation_records
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["changed"] = format_time(row["changed"])
    headings = []
    if rows:
        headings = list(rows[0])
    print_table(headings, [list(row.values()) for row in rows], title="DOIs")
