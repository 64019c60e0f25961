"""``/edit``: curators edit texts and news: a draft, as it will look, published into the files; nothing needs a script."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio.to_thread
from starlette.routing import Route

from hven import services as dali
from hven.model.errors import (
    Conflict,
    DescriptorError,
    Forbidden,
    HvenError,
    NotFound,
    ServiceError,
    Unauthenticated,
    UserError,
    say,
)
from hven.portal._pages.editors import edits_portal
from hven.portal._pages.markdown import shown
from hven.portal._views import editable_texts as editing
from hven.portal._views import file_history
from hven.portal._views.page_formats import Asked, Page, moved, page
from hven.services.address import from_elsewhere

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.portal._views.editable_texts import Editable, Part
    from hven.services.face import Surroundings

PATHS = {"home": "/edit/home", "news": "/edit/news/{name}", "collection": "/edit/collections/{name}"}
LONGEST = 8 << 20  # bytes of what is sent
WAIT = 10.0  # seconds for somebody else who publishes at this moment
LEASE = "texts"  # one writes at a time, on all machines
QUIET = {"cache-control": "private, no-store"}


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/edit``, ``/edit/home``, ``/edit/news/NAME`` and ``/edit/collections/NAME``."""
    site = around.site
    settings = site.settings

    def admitted(state: Asked) -> None:
        if state.who.anonymous:
            raise Unauthenticated("only who is logged in can ask this", remedy="log in at /login")

    def portal(state: Asked, file: str) -> None:
        """Refuse whoever does not edit what stands in a file of this portal."""
        admitted(state)
        if not edits_portal(state.who, around, state.brand):
            raise Forbidden("only who administers this portal edits its texts", remedy="administrators of the portal in hven.toml, and health.operators, name them")  # fmt: skip
        if not around.operates(state.who) and editing.shared(file, state.brand, settings):
            raise Forbidden("this text is not of this portal alone", remedy="operators of the site edit it; or give the portal a file of its own in hven.toml")  # fmt: skip

    def text_of(state: Asked, kind: str) -> Editable:
        """Return the text that an address names, for who may edit it."""
        name = state.request.path_params.get("name", "").removesuffix(".json")
        if kind == "home":
            portal(state, state.brand.text)
            return editing.home(state)
        if kind == "news":
            portal(state, state.brand.news)
            return editing.news(state, name)
        admitted(state)
        if name in {one.name for one in editing.collections(state)}:
            return editing.collection(state, name)
        if any(one.name == name for one in state.catalogue.schemas if one.name in state.holdings.resources):
            raise Forbidden("only its curators edit the texts of a collection", remedy="health.operators, administrators of its portal, and curators of its project do")  # fmt: skip
        raise NotFound(say("there is no collection {name!r} here", name[:80]), remedy="the first page lists what is here")  # fmt: skip

    async def every(state: Asked) -> Page:
        admitted(state)
        return await anyio.to_thread.run_sync(_every, state)

    def _every(state: Asked) -> Page:
        mine = edits_portal(state.who, around, state.brand)
        operates = around.operates(state.who)
        found = editing.collections(state)
        if not mine and not found:
            raise Forbidden("only curators edit texts here", remedy="health.operators, administrators of portals, and curators of projects do")  # fmt: skip
        home = mine and (operates or not editing.shared(state.brand.text, state.brand, settings))
        news = mine and (operates or not editing.shared(state.brand.news, state.brand, settings))
        subjects = {f"collections/{one.name}": f"/edit/collections/{quote(one.name)}" for one in found}
        begin = f"{state.brand.portal}:"
        drafts = [
            {"url": f"{state.base}{subjects.get(subject) or f'/edit/{subject.removeprefix(begin)}'}", "name": subject.removeprefix(begin), "by": owner, "at": at[:16].replace("T", " ")}
            for subject, owner, at in site.store.drafts.all()
            if subject in subjects or (home and subject == f"{begin}home") or (news and subject.startswith(f"{begin}news/"))
        ]  # fmt: skip
        content = {
            "home": f"{state.base}/edit/home" if home else "",
            "new": f"{state.base}/edit/news/{editing.NEW}" if news else "",
            "news": editing.titles(state) if news else [],
            "collections": [{"title": one.title or one.name, "url": f"{state.base}/edit/collections/{quote(one.name)}"} for one in found],
            "drafts": drafts,
        }  # fmt: skip
        return Page(template="edit.html", content={**content, "one": None}, twin=content, headers=QUIET)

    async def one(kind: str, state: Asked) -> Page:
        return await anyio.to_thread.run_sync(lambda: _page(text_of(state, kind), state))

    async def change(kind: str, state: Asked) -> Page:
        await anyio.to_thread.run_sync(text_of, state, kind)
        if from_elsewhere(state.request, settings):
            raise Forbidden("a page of another site asks this", remedy="use the form on this page")
        params = await dali.read(state.request, LONGEST)
        return await anyio.to_thread.run_sync(_change, state, kind, params)

    def _change(state: Asked, kind: str, params: dali.Params) -> Page:
        text, act = text_of(state, kind), (params.one("ACT") or "save").lower()
        name, day = str(state.who.name), params.one("DAY") or ""
        if act == "discard":
            site.store.drafts.end(name, text.subject)
            return moved(f"{state.base}{text.path}")
        texts, bases = {}, {}
        for part in text.parts:
            if part.name.upper() not in params.values:
                continue
            base = part.digest if act == "mine" else params.one(f"BASE.{part.name.upper()}") or part.digest
            mine = editing.cleaned(part, params.one(part.name.upper()) or "")
            if editing.digest(mine) != base:
                texts[part.name], bases[part.name] = mine, base
        if not texts:
            site.store.drafts.end(name, text.subject)
            return moved(f"{state.base}{text.path}")
        site.store.drafts.save(name, text.subject, texts, bases)  # whatever happens now: what was written is kept
        if act != "publish":
            return moved(f"{state.base}{text.path}{f'?day={quote(day)}' if day else ''}#preview")
        try:
            with site.store.leases.held(LEASE, what="a text that is published", wait=WAIT):
                done = _publish(text_of(state, kind), state, texts, bases, day)
        except (UserError, ServiceError) as error:
            return _page(text_of(state, kind), state, problem=error, day=day)
        return moved(f"{state.base}{done.path}?published=1")

    def _publish(
        text: Editable, state: Asked, texts: Mapping[str, str], bases: Mapping[str, str], day: str
    ) -> Editable:
        """Write what is a draft into its files, if these are what they were when it began."""
        name, subject = str(state.who.name), text.subject
        wanted = {part.name: texts[part.name] for part in text.parts if part.name in texts}
        if any(_clashes(part, texts, bases) for part in text.parts):
            raise Conflict("the text was changed since you began", remedy="look at both, and publish yours again")
        if text.subject.endswith(f":news/{editing.NEW}"):
            text = editing.dated(text, wanted, day)
        elif ":news/" in text.subject and wanted.get(text.parts[0].name) == "":
            wanted = {part.name: "" for part in text.parts}  # a translation alone is shown to nobody
        made = editing.files(text, wanted, settings)
        file_history.write(made, settings.directory, name)
        site.store.drafts.end(name, subject)
        names = sorted(path.relative_to(settings.directory).as_posix() for path in made)
        site.store.grants.note(name, "text published", text.path.removeprefix("/edit/"), {"files": names, "portal": state.brand.portal})  # fmt: skip
        return text

    def _page(text: Editable, state: Asked, problem: HvenError | None = None, day: str = "") -> Page:
        draft = site.store.drafts.get(str(state.who.name), text.subject)
        pictures = f"{state.base}/help/{quote(text.subject.removeprefix('collections/'))}/" if text.subject.startswith("collections/") else ""  # fmt: skip
        texts, bases = (draft.texts, draft.bases) if draft is not None else ({}, {})
        parts = [_part(part, texts, bases, pictures) for part in text.parts]
        others = [
            {"by": owner, "at": at[:16].replace("T", " ")}
            for subject, owner, at in site.store.drafts.all()
            if subject == text.subject and owner != state.who.name
        ]
        files = list(dict.fromkeys(part.file for part in text.parts))
        changes = [] if text.path.endswith(f"/{editing.NEW}") else [change for file in files for change in file_history.history(file, settings.directory)]  # fmt: skip
        told = state.told
        faults = problem.faults if isinstance(problem, DescriptorError) else ()
        content: dict[str, Any] = {
            "title": text.title,
            "path": text.path,
            "shows": f"{state.base}{text.shows}",
            "parts": parts,
            "draft": draft.at[:16].replace("T", " ") if draft is not None else None,
            "others": others,
            "day": (day or state.request.query_params.get("day", ""))[:10],
            "new": text.path.endswith(f"/{editing.NEW}"),
            "published": state.request.query_params.get("published") == "1" and draft is None,
            "history": sorted(({"at": one.at, "by": one.by, "diff": one.diff} for one in changes), key=lambda one: one["at"], reverse=True)[: file_history.SHOWN],
            "problem": None if problem is None or faults else told(problem.message),
            "remedy": told(problem.remedy) if problem is not None else "",
            "faults": [str(fault) for fault in faults],
        }  # fmt: skip
        twin = {**content, "parts": [{key: value for key, value in part.items() if key != "html"} for part in parts]}
        status = 200 if problem is None else dali.status_of(problem)
        return Page(template="edit.html", content={"one": content}, twin=twin, status=status, headers=QUIET)

    return [
        Route("/edit", page(every, around), methods=["GET"]),
        *(
            Route(path, page(partial(make, kind), around), methods=[method])
            for kind, path in PATHS.items()
            for make, method in ((one, "GET"), (change, "POST"))
        ),
    ]


def _clashes(part: Part, texts: Mapping[str, str], bases: Mapping[str, str]) -> bool:
    """Return whether somebody else changed what a draft changes, otherwise."""
    mine = texts.get(part.name)
    return mine is not None and mine != part.text and bases.get(part.name, part.digest) != part.digest


def _part(part: Part, texts: Mapping[str, str], bases: Mapping[str, str], pictures: str) -> Mapping[str, Any]:
    text = texts.get(part.name, part.text)
    return {
        "name": part.name,
        "kind": part.kind,
        "about": part.about,
        "language": part.language,
        "text": text,
        "now": part.text,
        "base": bases.get(part.name, part.digest),
        "changed": text != part.text,
        "clash": file_history.diff(part.text, text, part.file.name) if _clashes(part, texts, bases) else "",
        "html": shown(text, pictures=pictures) if part.kind == "text" else None,
    }
