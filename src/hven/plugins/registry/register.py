"""``hven register``: describe the site to registries, and check whether they would accept it."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app.api import load_site_settings, open_site, print_json
from hven.model import plugins
from hven.model.errors import NotFoundError, UsageError, UserError
from hven.plugins.registry import registry_enrolment, registry_validation
from hven.services.face import ServiceContext, load_service_faces
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import Fault
    from hven.plugins.registry.record_store import RegistryRecord
    from hven.site import Site

SERVER_LIST_POINT = "registry.server_lists"  # extension point: see README.md


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
            "a collection can be specified only with --check or --show", remedy=f"run `hven register {name} --check`"
        )
    if show_hapi:
        with open_site(context) as site:
            entry = _build_server_entry(site, "hapi")
        _print_hapi_server_entry(entry, as_line=as_line)
    elif check_records or show_records:
        with open_site(context) as site:
            service_context = _create_service_context(site)
            records_by_collection = registry_validation.build_draft_records(service_context)
            if name is not None:
                _require_collection_record(name, records_by_collection)
            faults = []
            if check_records:
                faults = registry_validation.find_record_faults(service_context, records_by_collection)
        if name is not None:
            records_by_collection = {name: records_by_collection[name]}
            faults = [fault for fault in faults if str(fault.place.file).endswith(f"/{name}.yaml")]
        records = list(itertools.chain.from_iterable(records_by_collection.values()))
        if check_records:
            _print_record_faults_with_exit_code(faults, len(records), as_json=as_json)
        else:
            print("\n".join(map(registry_validation.format_record, records)))
    elif show_harvested:
        with open_site(context) as site:
            registry_enrolment.print_comparison_with_exit_code(
                _create_service_context(site), registry_url, as_json=as_json
            )
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
            remedy=f"use only one of these options, for example `hven register {chosen_options[0]}`",
        )
    for option, needed_option in required_options.items():
        if needed_option and needed_option not in chosen_options:
            raise UsageError(
                f"{option} needs {needed_option}",
                remedy=f"run `hven register {needed_option} {option}`",
            )


def _create_service_context(site: Site) -> ServiceContext:
    """Create the context of a site with what anonymous users see, and with all services."""
    return replace(ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL), faces=load_service_faces())


def _require_collection_record(
    collection_name: str, records_by_collection: Mapping[str, Sequence[RegistryRecord]]
) -> None:
    """Raise `NotFoundError` if a collection has no record."""
    if collection_name not in records_by_collection:
        remedy = (
            "check with `hven status` and `hven check` that the collection is published, public and without errors, "
            "and that its descriptor does not contain `registry: {publish: false}`"
        )
        raise NotFoundError(f"there are no registry records for the collection {collection_name!r}", remedy=remedy)


def _print_record_faults_with_exit_code(faults: list[Fault], record_count: int, *, as_json: bool) -> None:
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


def _build_server_entry(site: Site, list_name: str) -> dict[str, Any]:
    """Build the entry of the site for a list of servers.

    Raises
    ------
    UserError
        The site cannot be listed, or no plug-in package in use has the list.
    """
    for module in plugins.load_extensions(SERVER_LIST_POINT):
        if list_name == module.LIST_NAME:
            entry: dict[str, Any] = module.build_server_entry(site)
            return entry
    unused_error = plugins.find_disabled_plugin_error("protocols", list_name)
    if unused_error is not None:
        raise unused_error
    raise UserError(
        f"none of the plug-in packages in use provides the service {list_name!r}",
        remedy="install a package that provides this service",
    )
