"""``/edit``: curators edit texts and news: a draft, as it will look, published into the files.

Nothing needs a script.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.model.errors import (
    ConflictError,
    DescriptorError,
    ForbiddenError,
    HvenError,
    NotFoundError,
    ServiceError,
    UnauthenticatedError,
    UserError,
    format_message,
)
from hven.portal._pages.editing_rights import can_edit_portal
from hven.portal._pages.markdown import render_markdown
from hven.portal._views import editable_texts, file_history
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint, build_redirect
from hven.services.addresses import is_cross_site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.portal._views.editable_texts import EditableText, EditableTextPart
    from hven.services.face import ServiceContext

EDIT_PATHS = {"home": "/edit/home", "news": "/edit/news/{name}", "collection": "/edit/collections/{name}"}
MAX_FORM_BYTES = 8 << 20  # bytes of what is sent
LEASE_TIMEOUT_SECONDS = 10.0  # seconds for somebody else who publishes at this moment
PUBLISHING_LEASE = "texts"  # one writes at a time, on all machines
PRIVATE_HEADERS = {"cache-control": "private, no-store"}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/edit``, ``/edit/home``, ``/edit/news/NAME`` and ``/edit/collections/NAME``."""
    site = context.site
    settings = site.settings

    def check_logged_in(page_context: PageContext) -> None:
        if page_context.principal.is_anonymous:
            raise UnauthenticatedError("only who is logged in can ask this", remedy="log in at /login")

    def check_portal_editor(page_context: PageContext, file_name: str) -> None:
        """Refuse whoever does not edit what stands in a file of this portal."""
        check_logged_in(page_context)
        if not can_edit_portal(page_context.principal, context, page_context.brand):
            raise ForbiddenError(
                "only who administers this portal edits its texts",
                remedy="administrators of the portal in hven.toml, and health.operators, name them",
            )
        if not context.is_operator(page_context.principal) and editable_texts.is_shared_file(
            file_name, page_context.brand, settings
        ):
            raise ForbiddenError(
                "this text is not of this portal alone",
                remedy="operators of the site edit it; or give the portal a file of its own in hven.toml",
            )

    def find_editable_text(page_context: PageContext, kind: str) -> EditableText:
        """Return the text that an address names, for who may edit it."""
        name = page_context.request.path_params.get("name", "").removesuffix(".json")
        if kind == "home":
            check_portal_editor(page_context, page_context.brand.text)
            return editable_texts.build_home_text(page_context)
        if kind == "news":
            check_portal_editor(page_context, page_context.brand.news)
            return editable_texts.build_news_text(page_context, name)
        check_logged_in(page_context)
        if name in {resource.name for resource in editable_texts.list_editable_collections(page_context)}:
            return editable_texts.build_collection_text(page_context, name)
        if any(
            resource.name == name
            for resource in page_context.catalogue.schemas
            if resource.name in page_context.published_state.resources
        ):
            raise ForbiddenError(
                "only its curators edit the texts of a collection",
                remedy="health.operators, administrators of its portal, and curators of its project do",
            )
        raise NotFoundError(
            format_message("there is no collection {name!r} here", name[:80]),
            remedy="the first page lists what is here",
        )

    async def show_overview(page_context: PageContext) -> PageContent:
        check_logged_in(page_context)
        return await anyio.to_thread.run_sync(_build_overview, page_context)

    def _build_overview(page_context: PageContext) -> PageContent:
        is_portal_editor = can_edit_portal(page_context.principal, context, page_context.brand)
        operates = context.is_operator(page_context.principal)
        editable_collections = editable_texts.list_editable_collections(page_context)
        if not is_portal_editor and not editable_collections:
            raise ForbiddenError(
                "only curators edit texts here",
                remedy="health.operators, administrators of portals, and curators of projects do",
            )
        home = is_portal_editor and (
            operates or not editable_texts.is_shared_file(page_context.brand.text, page_context.brand, settings)
        )
        news = is_portal_editor and (
            operates or not editable_texts.is_shared_file(page_context.brand.news, page_context.brand, settings)
        )
        subjects = {
            f"collections/{resource.name}": f"/edit/collections/{quote(resource.name)}"
            for resource in editable_collections
        }
        subject_prefix = f"{page_context.brand.portal}:"
        drafts = [
            {
                "url": f"{page_context.base}{subjects.get(subject) or f'/edit/{subject.removeprefix(subject_prefix)}'}",
                "name": subject.removeprefix(subject_prefix),
                "by": owner,
                "at": at[:16].replace("T", " "),
            }
            for subject, owner, at in site.store.drafts.list_drafts()
            if subject in subjects
            or (home and subject == f"{subject_prefix}home")
            or (news and subject.startswith(f"{subject_prefix}news/"))
        ]
        content = {
            "home": f"{page_context.base}/edit/home" if home else "",
            "new": f"{page_context.base}/edit/news/{editable_texts.NEW_NAME}" if news else "",
            "news": editable_texts.list_news_titles(page_context) if news else [],
            "collections": [
                {
                    "title": resource.title or resource.name,
                    "url": f"{page_context.base}/edit/collections/{quote(resource.name)}",
                }
                for resource in editable_collections
            ],
            "drafts": drafts,
        }
        template_values = {**content, "one": None}
        return PageContent(
            template="edit.html",
            template_values=template_values,
            json_content=content,
            headers=PRIVATE_HEADERS,
        )

    async def show_text(kind: str, page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(lambda: _build_page(find_editable_text(page_context, kind), page_context))

    async def change_text(kind: str, page_context: PageContext) -> PageContent:
        await anyio.to_thread.run_sync(find_editable_text, page_context, kind)
        if is_cross_site(page_context.request, settings):
            raise ForbiddenError("a page of another site asks this", remedy="use the form on this page")
        params = await services.read_params(page_context.request, MAX_FORM_BYTES)
        return await anyio.to_thread.run_sync(_apply_change, page_context, kind, params)

    def _apply_change(page_context: PageContext, kind: str, params: services.RequestParams) -> PageContent:
        text, action = find_editable_text(page_context, kind), (params.read_one("ACT") or "save").lower()
        name, day = str(page_context.principal.name), params.read_one("DAY") or ""
        if action == "discard":
            site.store.drafts.delete_draft(name, text.subject)
            return build_redirect(f"{page_context.base}{text.edit_path}")
        texts = {}
        bases = {}
        for part in text.parts:
            if part.name.upper() not in params.values:
                continue
            if action == "mine":
                base = part.digest
            else:
                base = params.read_one(f"BASE.{part.name.upper()}") or part.digest
            one = params.read_one(part.name.upper())
            new_text = editable_texts.clean_text(part, one or "")
            if editable_texts.compute_digest(new_text) != base:
                texts[part.name], bases[part.name] = new_text, base
        if not texts:
            site.store.drafts.delete_draft(name, text.subject)
            return build_redirect(f"{page_context.base}{text.edit_path}")
        site.store.drafts.save_draft(name, text.subject, texts, bases)  # whatever happens now: what was written is kept
        if action != "publish":
            return build_redirect(f"{page_context.base}{text.edit_path}{f'?day={quote(day)}' if day else ''}#preview")
        try:
            with site.store.leases.hold_lease(
                PUBLISHING_LEASE, description="a text that is published", wait_seconds=LEASE_TIMEOUT_SECONDS
            ):
                published_text = _publish_text(find_editable_text(page_context, kind), page_context, texts, bases, day)
        except (UserError, ServiceError) as error:
            return _build_page(find_editable_text(page_context, kind), page_context, problem=error, day=day)
        return build_redirect(f"{page_context.base}{published_text.edit_path}?published=1")

    def _publish_text(
        text: EditableText, page_context: PageContext, texts: Mapping[str, str], bases: Mapping[str, str], day: str
    ) -> EditableText:
        """Write what is a draft into its files, if these are what they were when it began."""
        name = str(page_context.principal.name)
        subject = text.subject
        new_texts = {part.name: texts[part.name] for part in text.parts if part.name in texts}
        if any(_has_conflict(part, texts, bases) for part in text.parts):
            raise ConflictError("the text was changed since you began", remedy="look at both, and publish yours again")
        if text.subject.endswith(f":news/{editable_texts.NEW_NAME}"):
            text = editable_texts.assign_news_file(text, new_texts, day)
        elif ":news/" in text.subject and new_texts.get(text.parts[0].name) == "":
            new_texts = {part.name: "" for part in text.parts}  # a translation alone is shown to nobody
        new_files = editable_texts.build_files(text, new_texts, settings)
        file_history.write_files(new_files, settings.directory, name)
        site.store.drafts.delete_draft(name, subject)
        names = sorted(path.relative_to(settings.directory).as_posix() for path in new_files)
        site.store.grants.log_event(
            name,
            "text published",
            text.edit_path.removeprefix("/edit/"),
            {"files": names, "portal": page_context.brand.portal},
        )
        return text

    def _build_page(
        text: EditableText, page_context: PageContext, problem: HvenError | None = None, day: str = ""
    ) -> PageContent:
        draft = site.store.drafts.find_draft(str(page_context.principal.name), text.subject)
        if text.subject.startswith("collections/"):
            pictures = f"{page_context.base}/help/{quote(text.subject.removeprefix('collections/'))}/"
        else:
            pictures = ""
        if draft is not None:
            texts, bases = (draft.texts, draft.bases)
        else:
            texts, bases = ({}, {})
        parts = [_describe_part(part, texts, bases, pictures) for part in text.parts]
        other_drafts = [
            {"by": owner, "at": at[:16].replace("T", " ")}
            for subject, owner, at in site.store.drafts.list_drafts()
            if subject == text.subject and owner != page_context.principal.name
        ]
        files = list(dict.fromkeys(part.file for part in text.parts))
        if text.edit_path.endswith(f"/{editable_texts.NEW_NAME}"):
            changes = []
        else:
            changes = [change for file in files for change in file_history.list_changes(file, settings.directory)]
        translate = page_context.translator
        if isinstance(problem, DescriptorError):
            faults = problem.faults
        else:
            faults = ()
        content: dict[str, Any] = {
            "title": text.title,
            "path": text.edit_path,
            "shows": f"{page_context.base}{text.view_path}",
            "parts": parts,
            "draft": draft.at[:16].replace("T", " ") if draft is not None else None,
            "others": other_drafts,
            "day": (day or page_context.request.query_params.get("day", ""))[:10],
            "new": text.edit_path.endswith(f"/{editable_texts.NEW_NAME}"),
            "published": page_context.request.query_params.get("published") == "1" and draft is None,
            "history": sorted(
                ({"at": file_change.at, "by": file_change.by, "diff": file_change.diff} for file_change in changes),
                key=lambda file_change: file_change["at"],
                reverse=True,
            )[: file_history.MAX_SHOWN_CHANGES],
            "problem": None if problem is None or faults else translate(problem.message),
            "remedy": translate(problem.remedy) if problem is not None else "",
            "faults": [str(fault) for fault in faults],
        }
        json_content = {
            **content,
            "parts": [{key: value for key, value in part.items() if key != "html"} for part in parts],
        }
        if problem is None:
            status = 200
        else:
            status = services.find_http_status(problem)
        return PageContent(
            template="edit.html",
            template_values={"one": content},
            json_content=json_content,
            status=status,
            headers=PRIVATE_HEADERS,
        )

    page_endpoint = build_page_endpoint(show_overview, context)
    return [
        Route("/edit", page_endpoint, methods=["GET"]),
        *(
            Route(path, build_page_endpoint(partial(handler, kind), context), methods=[method])
            for kind, path in EDIT_PATHS.items()
            for handler, method in ((show_text, "GET"), (change_text, "POST"))
        ),
    ]


def _has_conflict(part: EditableTextPart, texts: Mapping[str, str], bases: Mapping[str, str]) -> bool:
    """Return whether somebody else changed what a draft changes, otherwise."""
    draft_text = texts.get(part.name)
    return draft_text is not None and draft_text != part.text and bases.get(part.name, part.digest) != part.digest


def _describe_part(
    part: EditableTextPart, texts: Mapping[str, str], bases: Mapping[str, str], pictures: str
) -> Mapping[str, Any]:
    text = texts.get(part.name, part.text)
    return {
        "name": part.name,
        "kind": part.kind,
        "about": part.table_name,
        "language": part.language,
        "text": text,
        "now": part.text,
        "base": bases.get(part.name, part.digest),
        "changed": text != part.text,
        "clash": file_history.compare_texts(part.text, text, part.file.name)
        if _has_conflict(part, texts, bases)
        else "",
        "html": render_markdown(text, base_address=pictures) if part.kind == "text" else None,
    }
