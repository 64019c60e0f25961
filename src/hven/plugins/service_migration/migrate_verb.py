"""``hven migrate``: replace a running service, step by step."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app.api import format_command, load_site_settings, print_json, print_table
from hven.model import split_address
from hven.model.errors import UsageError
from hven.plugins.log_replay.report_page import write_report_page
from hven.plugins.service_migration import proxy_switch, service_drafts
from hven.plugins.service_migration.collection_drafts import SurveyConverter
from hven.plugins.service_migration.file_copies import FileCopier
from hven.plugins.service_migration.registry_handover import check_registry_handover
from hven.plugins.service_migration.service_comparison import DEFAULT_QUERY_COUNT, compare_services, load_survey
from hven.plugins.service_migration.service_survey import build_migration_directory

if TYPE_CHECKING:
    from hven.model.settings import Settings
    from hven.plugins.log_replay.replay import ReplayReport

SHOWN_DIFFERENCES = 20
SHOWN_CHARACTERS = 100
PROGRESS_STEP = 100
DEFAULT_LISTEN_ADDRESS = "127.0.0.1:8000"


def replace_service(
    context: typer.Context,
    *,
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the old service, or of its server.")],
    table: Annotated[
        str, typer.Option("--table", help="Only the tables whose names match, for example 'mars.*'.")
    ] = "*",
    registry_url: Annotated[
        str, typer.Option("--oai", metavar="URL", help="Address of the old publishing registry (OAI-PMH).")
    ] = "",
    database: Annotated[
        str, typer.Option("--database", metavar="$NAME", help="Read the rows from this database, instead of by TAP.")
    ] = "",
    copies_files: Annotated[
        bool, typer.Option("--copy-files", help="Copy the files that rows name, if they are on the old server.")
    ] = False,
    prove: Annotated[
        str, typer.Option("--prove", metavar="NEW", help="Compare the answers of the site at this address.")
    ] = "",
    log: Annotated[
        Path | None, typer.Option(help="With --prove: log of the old service, whose requests come first.")
    ] = None,
    queries: Annotated[
        int, typer.Option(help="With --prove: number of different requests.", min=1, max=100_000)
    ] = DEFAULT_QUERY_COUNT,
    rate: Annotated[
        float, typer.Option(help="With --prove: requests per second to each service.", min=0.01, max=100.0)
    ] = 2.0,
    seed: Annotated[int, typer.Option(help="With --prove: the same seed generates the same queries.")] = 1,
    page: Annotated[Path | None, typer.Option(help="With --prove: also write the result to this HTML file.")] = None,
    proxy: Annotated[
        str, typer.Option("--proxy", metavar="NEW", help="Write the configuration of a proxy before both services.")
    ] = "",
    listen: Annotated[
        str, typer.Option("--listen", help="With --proxy: where the proxy listens.")
    ] = DEFAULT_LISTEN_ADDRESS,
    switch: Annotated[
        str, typer.Option("--switch", metavar="new|old", help="Send all new requests to this service.")
    ] = "",
    registry: Annotated[
        str, typer.Option("--registry", metavar="NEW", help="Check that the registry records have moved.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Replace a running service of another program.

    Without --copy-files, --prove, --proxy, --switch or --registry, the command asks the service what it has, and
    writes descriptors and a report. It changes nothing at the old service.
    """
    settings = load_site_settings(context)
    steps = {
        "--copy-files": copies_files,
        "--prove": bool(prove),
        "--proxy": bool(proxy),
        "--switch": bool(switch),
        "--registry": bool(registry),
    }
    chosen_steps = [name for name, is_chosen in steps.items() if is_chosen]
    if len(chosen_steps) > 1:
        raise UsageError(f"{' and '.join(chosen_steps)} are different steps", remedy="run one step after the other")
    for address in filter(None, (url, prove, proxy, registry, registry_url)):
        _check_address(address)
    if copies_files:
        _copy_files(settings, url, as_json=as_json)
    elif prove:
        report = compare_services(
            settings,
            url,
            prove,
            log=log,
            query_count=queries,
            requests_per_second=rate,
            seed=seed,
            report_progress=_print_progress,
        )
        _finish_comparison(report, url, prove, log=log, page=page, as_json=as_json)
    elif proxy:
        _write_proxy(settings, url, proxy, listen)
    elif switch:
        _change_proxy_target(settings, url, switch)
    elif registry:
        _check_registry(settings, url, registry, as_json=as_json)
    else:
        drafts = service_drafts.draft_service(settings, url, table=table, registry_url=registry_url, database=database)
        _print_drafts(context, drafts, as_json=as_json)


def _check_address(address: str) -> None:
    parts = split_address(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(
            f"{address!r} is not the address of a service", remedy="write an address such as https://dachs.example.org"
        )


def _print_drafts(context: typer.Context, drafts: service_drafts.ServiceDrafts, *, as_json: bool) -> None:
    if as_json:
        paths = [str(path) for path in drafts.paths]
        print_json({"files": paths, "collections": drafts.collection_names, "summary": drafts.summary})
        return
    for path in drafts.paths:
        print(f"wrote {path}")
    print(drafts.summary)
    for name in drafts.collection_names:
        check_command = format_command(context, "check", name)
        print(f"Review it, then run: {check_command} && {format_command(context, 'ingest', name)}")


def _print_progress(sent: int, total: int) -> None:
    if sent and sent % PROGRESS_STEP == 0:
        print(f"{sent} of {total} requests sent", file=sys.stderr)


def _print_file_progress(count: int) -> None:
    if count % PROGRESS_STEP == 0:
        print(f"{count} files", file=sys.stderr)


def _copy_files(settings: Settings, url: str, *, as_json: bool) -> None:
    survey = load_survey(settings, url)
    names_by_schema = SurveyConverter(survey, settings).names_by_schema
    report = FileCopier(settings, survey, _print_file_progress).copy_files(names_by_schema)
    if as_json:
        print_json({**report.counts, "failures": report.failures, "aliases": "\n".join(report.alias_lines)})
    else:
        print(", ".join(f"{count:,} {kind}" for kind, count in report.counts.items()) or "no row names a file")
        for text in report.failures:
            print(f"  {text}")
        if report.alias_lines:
            print("Add `files: files/**` to the descriptors, and these lines to hven.toml:\n")
            print("\n".join(report.alias_lines))
    if report.counts["failed"]:
        raise typer.Exit(1)


def _finish_comparison(
    report: ReplayReport, url: str, new_url: str, *, log: Path | None, page: Path | None, as_json: bool
) -> None:
    differences = report.differences
    if page is not None:
        date = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        log_name = "generated queries" if log is None else f"{log.name}, and generated queries"
        text = write_report_page(report, log_name=log_name, new_url=new_url, old_url=url, date=date)
        page.write_text(text, encoding="utf-8")
    if as_json:
        print_json(report.to_json())
    else:
        print(f"{len(report.requests):,} different requests, {len(differences):,} with different answers")
        rows = [[request.target[-SHOWN_CHARACTERS:], request.difference] for request in differences[:SHOWN_DIFFERENCES]]
        if rows:
            print_table(["request", "new answer"], rows)
        if len(differences) > SHOWN_DIFFERENCES:
            print(f"{len(differences) - SHOWN_DIFFERENCES:,} more; use --page or --json to list all of them")
    if differences:
        raise typer.Exit(1)


def _write_proxy(settings: Settings, url: str, new_url: str, listen: str) -> None:
    survey = load_survey(settings, url)
    addresses = proxy_switch.ProxyAddresses(url=url, old_url=survey.url, new_url=new_url, listen=listen)
    directory = build_migration_directory(settings.directory, url)
    path = proxy_switch.write_proxy_files(directory, addresses)
    print(f"wrote {path}")
    print(f"Start the proxy, whose target is the old service: haproxy -W -f {path}")


def _change_proxy_target(settings: Settings, url: str, target: str) -> None:
    directory = build_migration_directory(settings.directory, url)
    proxy_switch.check_target_is_up(directory, target)
    previous = proxy_switch.replace_proxy_target(directory, target)
    print(f"new requests go to the {target} service (before: {previous}); the way back is --switch {previous}")


def _check_registry(settings: Settings, url: str, new_url: str, *, as_json: bool) -> None:
    handover = check_registry_handover(settings, url, new_url)
    if as_json:
        print_json(handover.to_json())
    else:
        findings = {
            "missing in the new registry": handover.missing,
            "not later in the new registry": handover.not_later,
            "still active in the old registry": handover.active,
            "deleted in the old registry after the new date": handover.deleted_later,
        }
        for finding, ivoids in findings.items():
            for ivoid in ivoids:
                print(f"{finding}: {ivoid}")
        for text in filter(None, (handover.old_registry_note, handover.old_registry_failure)):
            print(f"old registry: {text}")
        open_ivoids = {*handover.missing, *handover.not_later, *handover.active, *handover.deleted_later}
        moved_count = handover.record_count - len(open_ivoids)
        print(f"{moved_count} of {handover.record_count} records have moved")
    if not handover.is_complete:
        raise typer.Exit(1)
