"""``hven register``: what registries and lists of services elsewhere are to be told of this site, and whether they would take it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app._cli import enrolment
from hven.app._cli.context import settings as read_settings
from hven.app._cli.context import show_json
from hven.app._cli.context import site as open_site
from hven.model.errors import NotFound, UsageError, UserError
from hven.services import registering, series
from hven.services.face import Surroundings, known
from hven.site import Site
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from hven.model.errors import Fault

TRIED = 100  # samples that the list's keepers ask for to see that the server is well, about


def register(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="COLLECTION", help="With --check, --show: its records alone.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="What validators of registries would say of the records.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="The records as registries get them (ivo_vor).")] = False,
    harvested: Annotated[
        bool, typer.Option("--harvested", help="Which records a searchable registry (RegTAP) has already.")
    ] = False,
    at: Annotated[str | None, typer.Option("--at", metavar="URL", help="With --harvested: its TAP service.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Ask for what hven.toml lacks, and write it there.")] = False,
    hapi: Annotated[bool, typer.Option("--hapi", help="The entry for HAPI's list of servers, abouts.json.")] = False,
    line: Annotated[bool, typer.Option("--line", help="The line for all_.txt instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Lead the site into registries; say what they would refuse."""
    chosen = [word for word, is_said in {"--check": check, "--show": show, "--harvested": harvested, "--write": write, "--hapi": hapi}.items() if is_said]  # fmt: skip
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} are different things", remedy=f"hven register {chosen[0]}")
    for option, needed in {"--at": at and "--harvested", "--line": line and "--hapi"}.items():
        if needed and needed not in chosen:
            raise UsageError(f"{option} belongs to {needed}", remedy=f"hven register {needed} {option}")
    if name is not None and not (check or show):
        raise UsageError("a collection is named for --check and --show", remedy=f"hven register {name} --check")
    if hapi:
        with open_site(context) as site:
            entry = _hapi(site)
        _told(entry, line=line)
    elif check or show:
        with open_site(context) as site:
            around = replace(Surroundings.of(site, ANONYMOUS), faces=known())
            records = registering.drafts(around)
            if name is not None and name not in records:
                remedy = "hven status and `hven check` tell: is it published, public, without faults, and not `registry: {publish: false}`?"
                raise NotFound(f"registries are told nothing of {name}", remedy=remedy)
            faults = registering.judge(around, records) if check else []
        if check:
            if name is not None:
                own = f"/{name}.yaml"
                faults = [fault for fault in faults if str(fault.place.file).endswith(own)]
            _judged(faults, sum(len(found) for part, found in records.items() if name in {None, part}), as_json=as_json)
        else:
            print("\n".join(registering.written(one) for one in (records[name] if name is not None else [one for found in records.values() for one in found])))  # fmt: skip
    elif harvested:
        with open_site(context) as site:
            enrolment.look(replace(Surroundings.of(site, ANONYMOUS), faces=known()), at, as_json=as_json)
    else:
        found = read_settings(context)
        enrolment.guide(context, enrolment.ask_and_write(found) if write else found)


def _judged(faults: list[Fault], records: int, *, as_json: bool) -> None:
    """Show what validators would say; exit code 1 if they would refuse something."""
    errors = sum(fault.severity == "error" for fault in faults)
    if as_json:
        show_json(
            [
                {"file": one.place.file, "line": one.place.line, "severity": one.severity, "message": one.message, "remedy": one.remedy}
                for one in faults
            ]
        )  # fmt: skip
    else:
        for one in faults:
            print(f"{'warning: ' if one.severity != 'error' else ''}{one}")
        print(f"{records} record{'s' * (records != 1)}: {errors} error{'s' * (errors != 1)}, {len(faults) - errors} warning{'s' * (len(faults) - errors != 1)}")  # fmt: skip
    if errors:
        raise typer.Exit(1)


def _told(entry: dict[str, Any], *, line: bool) -> None:
    if line:
        print(", ".join(str(entry[key]) for key in ("x_url", "title", "id", "contact", "contactID") if key in entry))
    else:
        show_json(entry)
    print(
        "send it to https://github.com/hapi-server/servers; judge the server before with `hven lint`", file=sys.stderr
    )


def _hapi(site: Site) -> dict[str, Any]:
    """Describe the server as its own /about does, with a request that it must answer.

    Raises
    ------
    UserError
        Nobody would find it there, or nothing.
    """
    settings = site.settings
    if not settings.public_url:
        raise UserError("the site does not say under which address others find it", remedy="public_url in hven.toml")
    around, holdings = Surroundings.of(site, ANONYMOUS), site.current()
    for one in series.data_sets(around, ANONYMOUS, "hapi", holdings).values():
        span = series.span(around, ANONYMOUS, one, holdings)
        if span.start is not None and span.stop is not None and one.parameters:
            some = min((span.stop - span.start) * TRIED // max(span.rows, 1) + 1, span.stop - span.start)
            times = (series.iso(moment) for moment in (span.stop - some, span.stop))
            query = dict(
                zip(("dataset", "start", "stop", "parameters"), (one.id, *times, one.parameters[0].name), strict=True)
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
