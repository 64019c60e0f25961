"""``hven register``: say what registries need to know of this site, and check whether they would accept it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli import enrolment
from hven.app._cli.context import load_site_settings, open_site, show_json
from hven.model.errors import NotFoundError, UsageError, UserError
from hven.services import registry_validation, series
from hven.services.face import ServiceContext, load_faces
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import Fault
    from hven.model.resource import RegistryRecord
    from hven.site import Site

TARGET_SAMPLES = 100  # samples that the list's keepers ask for to see that the server is well, about


def register(
    context: typer.Context,
    *,
    name: Annotated[
        str | None, typer.Argument(metavar="COLLECTION", help="With --check, --show: its records alone.")
    ] = None,
    check_records: Annotated[
        bool, typer.Option("--check", help="What validators of registries would say of the records.")
    ] = False,
    show_records: Annotated[bool, typer.Option("--show", help="The records as registries get them (ivo_vor).")] = False,
    show_harvested: Annotated[
        bool, typer.Option("--harvested", help="Which records a searchable registry (RegTAP) has already.")
    ] = False,
    registry_url: Annotated[
        str | None, typer.Option("--at", metavar="URL", help="With --harvested: its TAP service.")
    ] = None,
    write_settings: Annotated[
        bool, typer.Option("--write", help="Ask for what hven.toml lacks, and write it there.")
    ] = False,
    show_hapi: Annotated[
        bool, typer.Option("--hapi", help="The entry for HAPI's list of servers, abouts.json.")
    ] = False,
    as_line: Annotated[bool, typer.Option("--line", help="The line for all_.txt instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Lead the site into registries; say what they would refuse."""
    options = {
        "--check": check_records,
        "--show": show_records,
        "--harvested": show_harvested,
        "--write": write_settings,
        "--hapi": show_hapi,
    }
    chosen_options = [option for option, is_chosen in options.items() if is_chosen]
    _check_options(chosen_options, {"--at": registry_url and "--harvested", "--line": as_line and "--hapi"})
    if name is not None and not (check_records or show_records):
        raise UsageError("a collection is named for --check and --show", remedy=f"hven register {name} --check")
    if show_hapi:
        with open_site(context) as site:
            entry = _build_hapi_entry(site)
        _print_hapi_entry(entry, as_line=as_line)
    elif check_records or show_records:
        with open_site(context) as site:
            service_context = _create_service_context(site)
            records_by_collection = _draft_records(service_context, name)
            faults = []
            if check_records:
                faults = registry_validation.check_records(service_context, records_by_collection)
        if name is not None:
            records_by_collection = {name: records_by_collection[name]}
        records = [record for collection_records in records_by_collection.values() for record in collection_records]
        if check_records:
            if name is not None:
                descriptor_end = f"/{name}.yaml"
                faults = [fault for fault in faults if str(fault.place.file).endswith(descriptor_end)]
            _show_faults(faults, len(records), as_json=as_json)
        else:
            print("\n".join(map(registry_validation.format_record, records)))
    elif show_harvested:
        with open_site(context) as site:
            enrolment.compare_with_registry(_create_service_context(site), registry_url, as_json=as_json)
    else:
        site_settings = load_site_settings(context)
        if write_settings:
            site_settings = enrolment.request_missing_settings(site_settings)
        enrolment.print_guide(context, site_settings)


def _check_options(chosen_options: Sequence[str], needed_options: Mapping[str, str | bool | None]) -> None:
    """Refuse options that exclude each other, and options whose needed option is not given."""
    if len(chosen_options) > 1:
        raise UsageError(
            f"{' and '.join(chosen_options)} are different things", remedy=f"hven register {chosen_options[0]}"
        )
    for option, needed_option in needed_options.items():
        if needed_option and needed_option not in chosen_options:
            raise UsageError(f"{option} belongs to {needed_option}", remedy=f"hven register {needed_option} {option}")


def _create_service_context(site: Site) -> ServiceContext:
    """Return what anonymous readers see of a site, with all its services."""
    return replace(ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL), faces=load_faces())


def _draft_records(service_context: ServiceContext, name: str | None) -> Mapping[str, Sequence[RegistryRecord]]:
    """Draft the records of all collections.

    Raises
    ------
    NotFoundError
        The collection that is named has none.
    """
    records = registry_validation.draft_records(service_context)
    if name is not None and name not in records:
        remedy = (
            "hven status and `hven check` tell: is it published, public, without faults, and not "
            "`registry: {publish: false}`?"
        )
        raise NotFoundError(f"registries are told nothing of {name}", remedy=remedy)
    return records


def _show_faults(faults: list[Fault], record_count: int, *, as_json: bool) -> None:
    """Show what validators would say; exit code 1 if they would refuse something."""
    errors = sum(fault.severity == "error" for fault in faults)
    if as_json:
        show_json(
            [
                {
                    "file": fault.place.file,
                    "line": fault.place.line,
                    "severity": fault.severity,
                    "message": fault.message,
                    "remedy": fault.remedy,
                }
                for fault in faults
            ]
        )
    else:
        for fault in faults:
            print(f"{'warning: ' if fault.severity != 'error' else ''}{fault}")
        print(
            f"{record_count} record{'s' * (record_count != 1)}: {errors} error{'s' * (errors != 1)}, "
            f"{len(faults) - errors} warning{'s' * (len(faults) - errors != 1)}"
        )
    if errors:
        raise typer.Exit(1)


def _print_hapi_entry(entry: dict[str, Any], *, as_line: bool) -> None:
    if as_line:
        print(", ".join(str(entry[key]) for key in ("x_url", "title", "id", "contact", "contactID") if key in entry))
    else:
        show_json(entry)
    print(
        "send it to https://github.com/hapi-server/servers; judge the server before with `hven lint`", file=sys.stderr
    )


def _build_hapi_entry(site: Site) -> dict[str, Any]:
    """Describe the server as its own /about does, with a request that it must answer.

    Raises
    ------
    UserError
        Nobody would find it there, or nothing.
    """
    settings = site.settings
    if not settings.public_url:
        raise UserError("the site does not say under which address others find it", remedy="public_url in hven.toml")
    service_context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    published_state = site.get_published_state()
    for data_set in series.list_data_sets(service_context, ANONYMOUS_PRINCIPAL, "hapi", published_state).values():
        span = series.find_time_extent(service_context, ANONYMOUS_PRINCIPAL, data_set, published_state)
        if span.start is not None and span.stop is not None and data_set.parameters:
            sample_span = min(
                (span.stop - span.start) * TARGET_SAMPLES // max(span.row_count, 1) + 1, span.stop - span.start
            )
            times = (series.format_instant(moment) for moment in (span.stop - sample_span, span.stop))
            query = dict(
                zip(
                    ("dataset", "start", "stop", "parameters"),
                    (data_set.id, *times, data_set.parameters[0].name),
                    strict=True,
                )
            )
            break
    else:
        raise UserError("nobody who has not logged in sees a data set with samples", remedy="series: in a descriptor")
    contact = settings.contact_name or settings.contact_email
    if not contact:
        raise UserError("the site does not say whom to ask", remedy="contact_name and contact_email in hven.toml")
    return {
        "x_url": f"{str(settings.public_url).rstrip('/')}/hapi",
        "id": settings.authority or settings.name,
        "title": settings.title or settings.name,
        "contact": contact,
        **({"contactID": settings.contact_email} if settings.contact_email else {}),
        **({"description": settings.description} if settings.description else {}),
        "dataTest": {"name": "Last samples", "query": query},
    }
