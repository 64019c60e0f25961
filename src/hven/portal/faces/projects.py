"""``/projects``: who shares collections. Of a project that is listed, who is no member learns its name, its words and whom to ask; of a hidden one nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import anyio.to_thread
from starlette.routing import Route

from hven import services as dali
from hven.model.errors import Conflict, Forbidden, NotFound, ParamError, Unauthenticated, say
from hven.portal._pages import projects_of
from hven.portal._pages.markdown import shown
from hven.portal._views.facts import released
from hven.portal._views.guides import SHELF
from hven.portal._views.page_formats import Asked, Page, moved, page
from hven.services.address import from_elsewhere
from hven.services.face import Face, Surroundings
from hven.site.auth import ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.settings import Project

LONGEST = 4096  # bytes of what is sent
WORDS = 500  # characters of what somebody says who asks
QUIET = {"cache-control": "private, no-store"}  # it is of one reader


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/projects`` and ``/projects/NAME``.

    Parameters
    ----------
    around
        Site, reader and faces.

    Returns
    -------
    routes
        For Starlette.
    """
    site = around.site

    def named(state: Asked) -> tuple[Project, str | None]:
        name = state.request.path_params["name"].removesuffix(".json")
        for project, mine in projects_of(state.who, site.settings):
            if project.name == name:
                return project, mine
        raise NotFound(
            say("there is no project {name!r} here", name[:80]), remedy="/projects lists those that are known"
        )

    def told(project: Project, state: Asked) -> dict[str, Any]:
        url = f"{state.base}/projects/{quote(project.name)}"
        texts = {"title": project.title or project.name, "description": project.description, "contact": project.contact}
        return {"name": project.name, "url": url, "path": urlsplit(url).path, **texts}

    async def every(state: Asked) -> Page:
        found = [told(project, state) for project, _ in projects_of(state.who, site.settings)]
        return Page(
            template="project.html", content={"projects": found, "one": None}, twin={"projects": found}, headers=QUIET
        )

    async def one(state: Asked) -> Page:
        project, mine = named(state)
        return await anyio.to_thread.run_sync(_page, project, mine, state)

    def _page(project: Project, mine: str | None, state: Asked) -> Page:
        grants, who = site.store.grants, state.who
        may = mine is not None and ROLES.index(mine) >= ROLES.index("curator")
        members: dict[str, list[str]] = {}
        for grant in grants.all("member", object=project.name) if mine else ():
            if grant.role in ROLES:
                members.setdefault(grant.subject, []).append(grant.role)
        content = {
            **told(project, state),
            "role": mine,
            "members": [{"name": name, "role": min(roles, key=ROLES.index)} for name, roles in sorted(members.items())],
            "asked": [
                {"id": grant.id, "name": grant.subject, "at": grant.created[:10], "words": grant.facts.get("words", "")}
                for grant in (grants.all("asked", object=project.name) if may else ())
            ],
            "pending": bool(who.name and grants.all("asked", subject=who.name, object=project.name)),
            **_shared(project, state),
        }
        news = [
            {"title": note.title, "day": str(note.day), "html": shown(note.text)}
            for note in _notes(project, mine, state)
        ]
        twin = {**content, "news": [{name: item[name] for name in ("title", "day")} for item in news]}
        return Page(
            template="project.html",
            content={"projects": [], "one": {**content, "news": news}},
            twin=twin,
            headers=QUIET,
        )

    def _notes(project: Project, mine: str | None, state: Asked) -> list[Any]:
        root = site.settings.directory
        places = (
            [] if project.news is None else [root / project.news / "public", *([root / project.news] if mine else [])]
        )
        notes = [note for place in places for note in SHELF.news(place, root, state.language)]
        return sorted(notes, key=lambda note: str(note.day), reverse=True)

    async def change(state: Asked) -> Page:
        project, mine = named(state)
        if from_elsewhere(state.request, site.settings):
            raise Forbidden("a page of another site asks this", remedy="use the form on the page of the project")
        params = await dali.read(state.request, LONGEST)
        await anyio.to_thread.run_sync(_change, project, mine, state, params)
        return moved(told(project, state)["url"])

    def _change(project: Project, mine: str | None, state: Asked, params: dali.Params) -> None:
        grants, name = site.store.grants, state.who.name
        if name is None:
            raise Unauthenticated("only who is logged in can ask this", remedy="log in at /login")
        if params.one("ASK") is not None:
            if mine or grants.all("asked", subject=name, object=project.name):
                raise Conflict("you are a member, or have asked already", remedy="wait for an answer")
            words = (params.one("WORDS") or "")[:WORDS]
            grants.add("asked", subject=name, object=project.name, by=name, facts={"words": words})
            return
        if mine is None or ROLES.index(mine) < ROLES.index("curator"):
            raise Forbidden("only curators and owners of a project answer those who ask")
        ident = params.one("ACCEPT") or params.one("REFUSE")
        found = next((one for one in grants.all("asked", object=project.name) if one.id == ident), None)
        if found is None:
            raise ParamError("nobody asks this any more", name="ACCEPT", remedy="look at the page again")
        grants.end(found.id, by=name)
        if params.one("ACCEPT"):
            grants.add("member", subject=found.subject, object=project.name, role=ROLES[0], by=name)

    return [
        Route("/projects", page(every, around)),
        Route("/projects.json", page(every, around)),
        Route("/projects/{name}", page(one, around)),
        Route("/projects/{name}", page(change, around), methods=["POST"]),
    ]


def _shared(project: Project, state: Asked) -> dict[str, Any]:
    """List the collections of a project, and their releases, that this reader sees."""
    collections: dict[str, dict[str, Any]] = {}
    for table in state.catalogue.tables():
        item = state.holdings.published.get(table.qualified)
        if item is None or table.project != project.name or item.resource is None or item.release is not None:
            continue
        one = collections.setdefault(table.schema, {"title": item.resource.title or table.schema, "members": True})
        one["url"] = f"{state.base}/collections/{quote(table.schema)}"
        one["members"] &= table.access != "public"
    releases = released(state, lambda item: item.table.project == project.name)
    return {"collections": list(collections.values()), "releases": releases}


FACE = Face(name="projects", title="Projects", routes=routes)
