"""``hven doi``: list, draft, publish and withdraw DOIs of collections and releases, and write files for a library."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from hven.app._cli.context import format_command, format_time, open_site, show_json, show_table
from hven.model.errors import NotFoundError, UsageError, UserError
from hven.services import citations, doi_minting
from hven.services.face import ServiceContext
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from hven.model.resource import Citation
    from hven.services.citations import CitationMetadata
    from hven.site import Site

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


def doi(
    context: typer.Context,
    *,
    name: Annotated[
        str | None, typer.Argument(metavar="COLLECTION", help="Without one: all that have a DOI, or were withdrawn.")
    ] = None,
    label: Annotated[
        str, typer.Option("--release", metavar="LABEL", help="Of this release, which gets a DOI of its own.")
    ] = "",
    draft: Annotated[
        bool, typer.Option("--draft", help="Reserve it at DataCite; it leads nowhere yet and can be thrown away there.")
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Publish it for good, or bring what DataCite has up to date.")
    ] = False,
    withdraw: Annotated[
        str | None,
        typer.Option(
            "--withdraw", metavar="REASON", help="Say on its page, and at DataCite, that it is withdrawn, and why."
        ),
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="Write the metadata for a library that registers it: .xml or .json."),
    ] = None,
    registered_doi: Annotated[
        str | None, typer.Option("--is", metavar="DOI", help="Keep the DOI that a library registered for it.")
    ] = None,
    suffix: Annotated[str, typer.Option("--suffix", metavar="TEXT", help="What shall stand behind the prefix.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    as_json: Json = False,
) -> None:
    """Give collections and releases DOIs; say what they lack for one."""
    chosen_options = [
        word
        for word, is_chosen in {
            "--draft": draft,
            "--publish": publish,
            "--withdraw": withdraw is not None,
            "--to": output_file is not None,
            "--is": registered_doi is not None,
        }.items()
        if is_chosen
    ]
    if len(chosen_options) > 1:
        raise UsageError(
            f"{' and '.join(chosen_options)} are different things", remedy=f"hven doi NAME {chosen_options[0]}"
        )
    if name is None:
        if chosen_options or label or suffix:
            raise UsageError("which collection?", remedy=f"hven doi NAME {' '.join(chosen_options)}".rstrip())
        _list_dois(context, as_json=as_json)
        return
    if withdraw is not None and len(withdraw.strip()) < 3:
        raise UsageError(
            "say why it is withdrawn: that stands on its page for good",
            remedy='--withdraw "superseded by R6, whose fluxes are right"',
        )
    with open_site(context) as site:
        citation = _gather_citation(site, name, label)
        if output_file is not None:
            _write_metadata(site, citation, output_file)
        elif registered_doi is not None:
            stored_citation = doi_minting.record_external_doi(site.store, citation, registered_doi)
            _report_outcome(context, citation, stored_citation, "kept")
        elif withdraw is not None and not dry_run:
            _record_withdrawal(context, site, citation, " ".join(withdraw.split()))
        elif (draft or publish) and not dry_run:
            citation = replace(citation, withdrawal_reason="")
            stored_citation, outcome = doi_minting.mint_doi(
                site.settings, site.store, citation, "draft" if draft else "findable", suffix
            )
            _report_outcome(context, citation, stored_citation, outcome)
        else:
            if withdraw is not None:
                withdrawal_reason = " ".join(withdraw.split())
                citation = replace(citation, withdrawal_reason=withdrawal_reason)
            _show_metadata(context, site, citation, chosen_options, suffix, as_json=as_json)


def _gather_citation(site: Site, name: str, label: str) -> CitationMetadata:
    """Gather what everybody sees: nothing else gets a DOI."""
    service_context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    published_state = site.get_published_state()
    try:
        catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, service_context.policies)
        return citations.collect_citation_metadata(
            service_context,
            published_state,
            catalogue,
            name,
            label,
        )
    except NotFoundError as error:
        if name in published_state.resources and not label:
            raise NotFoundError(
                f"nothing of {name} is published for everybody", remedy="hven status tells what is"
            ) from error
        raise


def _list_problems(citation: CitationMetadata) -> tuple[list[str], bool]:
    problems = list(citations.list_missing_metadata(citation))
    lines = [
        f"{'warning: ' if severity != 'error' else ''}{citation.resource.path}: {message}"
        for severity, message in problems
    ]
    return lines, any(severity == "error" for severity, _ in problems)


def _show_metadata(
    context: typer.Context,
    site: Site,
    citation: CitationMetadata,
    chosen_options: list[str],
    suffix: str,
    *,
    as_json: bool,
) -> None:
    stored_citation = site.store.citations.find_citation(citation.resource.name, citation.label)
    name = stored_citation.doi if stored_citation else None
    if not name and site.settings.doi.prefix:
        name = doi_minting.propose_doi(site.settings, citation, suffix)
    elif not name:
        name = citation.doi
    if name:
        attributes = doi_minting.build_attributes(citation, name)
    else:
        attributes = citations.build_datacite_record(citation)
    lines, has_errors = _list_problems(citation)
    if as_json:
        show_json(attributes)
    else:
        print(orjson.dumps(attributes, option=orjson.OPT_INDENT_2).decode())
    if stored_citation is None or stored_citation.doi is None:
        page_context = "none yet"
    else:
        page_context = f"{stored_citation.state} since {format_time(stored_citation.changed)}"
    is_up_to_date = stored_citation is not None and stored_citation.told == attributes
    print(
        "\n".join(
            [
                *lines,
                (
                    f"DOI {name or 'by a library'}: "
                    f"{page_context}{', as DataCite has it' if is_up_to_date else ''}; nothing was sent"
                ),
            ]
        ),
        file=sys.stderr,
    )
    if not chosen_options and not has_errors:
        if site.settings.doi.prefix:
            options = "--publish"
        else:
            options = "--to FILE"
        command = format_command(context, "doi", citation.resource.name, *_list_release_options(citation), options)
        print(f"then: {command}", file=sys.stderr)
    if has_errors:
        raise typer.Exit(1)


def _list_release_options(citation: CitationMetadata) -> list[str]:
    return ["--release", citation.label] if citation.label else []


def _write_metadata(site: Site, citation: CitationMetadata, output_file: Path) -> None:
    stored_citation = site.store.citations.find_citation(citation.resource.name, citation.label)
    name = citation.doi
    if stored_citation and stored_citation.doi:
        name = stored_citation.doi
    datacite_record = citations.build_datacite_record(citation)
    attributes = {
        **datacite_record,
        **({"doi": name} if name else {}),
        "url": citation.address,
    }
    lines, has_errors = _list_problems(citation)
    if output_file.suffix == ".json":
        data = orjson.dumps({"data": {"type": "dois", "attributes": attributes}}, option=orjson.OPT_INDENT_2) + b"\n"
    elif output_file.suffix == ".xml":
        data = citations.write_datacite_xml(attributes).encode()
    else:
        raise UsageError(f"{output_file} is neither .xml nor .json", remedy="libraries mostly take .xml")
    print("\n".join(lines), end="\n" if lines else "", file=sys.stderr)
    if has_errors:
        raise UserError(f"{citation.title} cannot be registered so", remedy="mend what is told above")
    output_file.write_bytes(data)
    print(f"wrote {output_file}: DataCite 4.6 of {citation.title}, which shall lead to {citation.address}")
    if not name:
        print(
            f"once it is registered: hven doi "
            f"{citation.resource.name}{f' --release {citation.label}' if citation.label else ''} --is "
            f"10.xxxx/.."
        )


def _record_withdrawal(context: typer.Context, site: Site, citation: CitationMetadata, reason: str) -> None:
    stored_citation = doi_minting.record_withdrawal(site.store, replace(citation, withdrawal_reason=""), reason)
    withdrawn_citation = replace(citation, withdrawal_reason=reason, withdrawal_date=stored_citation.changed[:10])
    is_own_doi = (
        stored_citation.doi
        and site.settings.doi.prefix
        and stored_citation.doi.lower().startswith(f"{site.settings.doi.prefix}/")
    )
    print(f"{citation.title} is withdrawn: {citation.address} says so, and why, also once its data are taken away")
    if is_own_doi:
        doi_minting.mint_doi(
            site.settings, site.store, replace(withdrawn_citation, doi=stored_citation.doi), "withdrawn"
        )
        print(f"DataCite knows it, too; {stored_citation.doi} leads there as before")
    elif stored_citation.doi:
        print(f"{stored_citation.doi} is registered by somebody else: tell them; it shall go on leading there")
    if citation.label:
        command = format_command(context, "release", "remove", citation.label, citation.resource.name)
    else:
        command = format_command(context, "remove", citation.resource.name)
    print(f"its data are there until: {command}")


def _report_outcome(
    context: typer.Context, citation: CitationMetadata, stored_citation: Citation, outcome: str
) -> None:
    print(f"https://doi.org/{stored_citation.doi}: {stored_citation.state}, {outcome}; leads to {stored_citation.url}")
    lines, _ = _list_problems(citation)
    print("\n".join(lines), end="\n" if lines else "", file=sys.stderr)
    if stored_citation.state == "draft":
        command = format_command(context, "doi", citation.resource.name, *_list_release_options(citation), "--publish")
        print(f"to publish it for good: {command}")
    elif not citation.label and citation.resource.doi is None and stored_citation.doi is not None:
        if doi_minting.write_doi_to_descriptor(citation.resource.path, stored_citation.doi):
            print(f"wrote doi: {stored_citation.doi} into {citation.resource.path}")
        else:
            print(
                f"write this into {citation.resource.path}, so that results and registries tell it: doi: "
                f"{stored_citation.doi}"
            )


def _list_dois(context: typer.Context, *, as_json: bool) -> None:
    with open_site(context) as site:
        citations = site.store.citations.list_citations()
    rows: list[dict[str, Any]] = [
        {
            "collection": citation.collection,
            "release": citation.label,
            "doi": citation.doi,
            "state": citation.state,
            "changed": citation.changed,
            "url": citation.url,
            "reason": citation.reason,
        }
        for citation in citations
    ]
    if as_json:
        show_json(rows)
        return
    for row in rows:
        row["changed"] = format_time(row["changed"])
    show_table(list(rows[0]) if rows else [], [list(row.values()) for row in rows], title="DOIs")
