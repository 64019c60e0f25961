"""``hven register``: what lists of services elsewhere are to be told of this site."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from hven.app._cli.context import show_json
from hven.app._cli.context import site as open_site
from hven.model.errors import UsageError, UserError
from hven.services import series
from hven.services.face import Surroundings
from hven.site import Site
from hven.site.auth import ANONYMOUS

TRIED = 100  # samples that the list's keepers ask for to see that the server is well, about


def register(
    context: typer.Context,
    hapi: Annotated[bool, typer.Option("--hapi", help="The entry for HAPI's list of servers, abouts.json.")] = False,
    line: Annotated[bool, typer.Option("--line", help="The line for all_.txt instead.")] = False,
) -> None:
    """Write the entry for a list of services elsewhere."""
    if not hapi:
        raise UsageError("say which list it is for", remedy="hven register --hapi")
    with open_site(context) as site:
        entry = _hapi(site)
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
