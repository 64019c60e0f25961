"""``hven register``: describe the site to registries, and check whether they would accept it."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli import registry_enrolment
from hven.app._cli.context import load_site_settings, open_site, print_json
from hven.model.errors import NotFoundError, UsageError, UserError
from hven.services import registry_validation, series
from hven.services.face import ServiceContext, load_service_faces
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import Fault
    from hven.model.resource import RegistryRecord
    from hven.site import Site

TARGET_SAMPLES = 100  # samples of the test request, about; maintainers of HAPI's list use it to monitor servers


def register(
    context: typer.Context,
    *,
    name: Annotated[
        str | None,
        typer.Argument(metavar="COLLECTION", help="With --check or --show: only the records of this collection."),
    ] = None,
    check_records: Annotated[
        bool, typer.Option("--check", help="Check the records in the same way as the validators of registries.")
    ] = False,
    show_records: Annotated[
        bool, typer.Option("--show", help="Show the records as registries receive them (ivo_vor).")
    ] = False,
    show_harvested: Annotated[
        bool, typer.Option("--harvested", help="Show which records a searchable registry (RegTAP) already has.")
    ] = False,
    registry_url: Annotated[
        str | None, typer.Option("--at", metavar="URL", help="With --harvested: address of the registry's TAP service.")
    ] = None,
    write_settings: Annotated[
        bool,
        typer.Option(
            "--write", help=("Ask for the settings that are missing in hven.toml, and write them into this file.")
        ),
    ] = False,
    show_hapi: Annotated[
        bool, typer.Option("--hapi", help="Show the entry for HAPI's list of servers, abouts.json.")
    ] = False,
    as_line: Annotated[bool, typer.Option("--line", help="With --hapi: show the line for all_.txt instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Explain how to register the site, and check its records."""
    options = {
        "--check": check_records,
        "--show": show_records,
        "--harvested": show_harvested,
        "--write": write_settings,
        "--hapi": show_hapi,
    }
    chosen_options = [option for option, is_chosen in options.items() if is_chosen]
    _check_option_combination(chosen_options, {"--at": registry_url and "--harvested", "--line": as_line and "--hapi"})
    if name is not None and not (check_records or show_records):
        raise UsageError(
            "a collection can be given only with --check or --show", remedy=f"run hven register {name} --check"
        )
    if show_hapi:
        with open_site(context) as site:
            entry = _build_hapi_server_entry(site)
        _print_hapi_server_entry(entry, as_line=as_line)
    elif check_records or show_records:
        with open_site(context) as site:
            service_context = _create_service_context(site)
            records_by_collection = _draft_registry_records(service_context, name)
            faults = []
            if check_records:
                faults = registry_validation.find_record_faults(service_context, records_by_collection)
        if name is not None:
            records_by_collection = {name: records_by_collection[name]}
            faults = [fault for fault in faults if str(fault.place.file).endswith(f"/{name}.yaml")]
        records = list(itertools.chain.from_iterable(records_by_collection.values()))
        if check_records:
            _print_record_faults(faults, len(records), as_json=as_json)
        else:
            print("\n".join(map(registry_validation.format_record, records)))
    elif show_harvested:
        with open_site(context) as site:
            registry_enrolment.print_registry_comparison(_create_service_context(site), registry_url, as_json=as_json)
    else:
        site_settings = load_site_settings(context)
        if write_settings:
            site_settings = registry_enrolment.complete_settings_by_prompt(site_settings)
        registry_enrolment.print_registration_guide(context, site_settings)


def _check_option_combination(chosen_options: Sequence[str], required_options: Mapping[str, str | bool | None]) -> None:
    """Refuse options that exclude each other, and options without the option that they belong to.

    Raises
    ------
    UsageError
        The options do not go together.
    """
    if len(chosen_options) > 1:
        raise UsageError(
            f"{' and '.join(chosen_options)} cannot be combined",
            remedy=f"give only one: hven register {chosen_options[0]}",
        )
    for option, needed_option in required_options.items():
        if needed_option and needed_option not in chosen_options:
            raise UsageError(f"{option} needs {needed_option}", remedy=f"run hven register {needed_option} {option}")


def _create_service_context(site: Site) -> ServiceContext:
    """Create the context of a site with what anonymous users see, and with all services."""
    return replace(ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL), faces=load_service_faces())


def _draft_registry_records(
    service_context: ServiceContext, collection_name: str | None
) -> Mapping[str, Sequence[RegistryRecord]]:
    """Draft the records of all collections.

    Raises
    ------
    NotFoundError
        The collection that the user names has no record.
    """
    records = registry_validation.build_draft_records(service_context)
    if collection_name is not None and collection_name not in records:
        remedy = (
            "check with `hven status` and `hven check` that it is published, public and without errors, "
            "and does not have `registry: {publish: false}`"
        )
        raise NotFoundError(f"there are no registry records of {collection_name}", remedy=remedy)
    return records


def _print_record_faults(faults: list[Fault], record_count: int, *, as_json: bool) -> None:
    """Print what validators would report; exit code 1 if they would refuse a record."""
    error_count = sum(fault.severity == "error" for fault in faults)
    if as_json:
        print_json([_fault_to_json(fault) for fault in faults])
    else:
        for fault in faults:
            prefix = "" if fault.severity == "error" else "warning: "
            print(f"{prefix}{fault}")
        record_text = _format_count(record_count, "record")
        warning_text = _format_count(len(faults) - error_count, "warning")
        print(f"{record_text}: {_format_count(error_count, 'error')}, {warning_text}")
    if error_count:
        raise typer.Exit(1)


def _fault_to_json(fault: Fault) -> dict[str, Any]:
    return {
        "file": fault.place.file,
        "line": fault.place.line,
        "severity": fault.severity,
        "message": fault.message,
        "remedy": fault.remedy,
    }


def _format_count(number: int, word: str) -> str:
    if number == 1:
        return f"1 {word}"
    return f"{number} {word}s"


def _print_hapi_server_entry(entry: dict[str, Any], *, as_line: bool) -> None:
    if as_line:
        keys = ("x_url", "title", "id", "contact", "contactID")
        print(", ".join(str(entry[key]) for key in keys if key in entry))
    else:
        print_json(entry)
    print(
        "check the server with `hven lint`, then send the entry to https://github.com/hapi-server/servers",
        file=sys.stderr,
    )


def _build_hapi_server_entry(site: Site) -> dict[str, Any]:
    """Describe the server as its own /about does, with a test request that it must be able to answer.

    Raises
    ------
    UserError
        The site has no public address, no contact, or no public data set with samples.
    """
    settings = site.settings
    if not settings.public_url:
        raise UserError("the public address of the site is not set", remedy="set public_url in hven.toml")
    test_query = _build_hapi_test_request(site)
    contact = settings.contact_name or settings.contact_email
    if not contact:
        raise UserError("the contact of the site is not set", remedy="set contact_name and contact_email in hven.toml")
    entry: dict[str, Any] = {
        "x_url": f"{str(settings.public_url).rstrip('/')}/hapi",
        "id": settings.authority or settings.name,
        "title": settings.title or settings.name,
        "contact": contact,
    }
    if settings.contact_email:
        entry["contactID"] = settings.contact_email
    if settings.description:
        entry["description"] = settings.description
    entry["dataTest"] = {"name": "Last samples", "query": test_query}
    return entry


def _build_hapi_test_request(site: Site) -> dict[str, str]:
    """Build a request for about the last hundred samples of the first public data set.

    Raises
    ------
    UserError
        There is no public data set with samples.
    """
    service_context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    published_state = site.get_published_state()
    data_sets = series.list_data_sets(service_context, ANONYMOUS_PRINCIPAL, "hapi", published_state)
    for data_set in data_sets.values():
        extent = series.find_time_extent(service_context, ANONYMOUS_PRINCIPAL, data_set, published_state)
        if extent.start is None or extent.stop is None or not data_set.parameters:
            continue
        total_span = extent.stop - extent.start
        sample_span = total_span * TARGET_SAMPLES // max(extent.row_count, 1) + 1
        start = extent.stop - min(sample_span, total_span)
        return {
            "dataset": data_set.id,
            "start": series.format_instant(start),
            "stop": series.format_instant(extent.stop),
            "parameters": data_set.parameters[0].name,
        }
    raise UserError("there is no public data set with samples", remedy="add `series` to a descriptor")
