"""Serve ``/edit``, where curators edit texts and news: they save a draft, preview it, and publish it into the files.

All of it works without scripts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
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
from hven.plugins.curating import editable_texts, file_history
from hven.plugins.curating.draft_store import DraftStore
from hven.portal.api.markdown_pages import render_markdown
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PageLink,
    PortalPages,
    TemplateContext,
    build_page_endpoint,
    build_redirect,
    can_edit_portal,
)
from hven.services.addresses import is_cross_site_change_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from hven.plugins.curating.editable_texts import EditableText, EditableTextPart
    from hven.services.face import ServiceContext

EDIT_PATHS = {"home": "/edit/home", "news": "/edit/news/{name}", "collection": "/edit/collections/{name}"}
MAX_FORM_BYTES = 8 << 20  # of a request
LEASE_TIMEOUT_SECONDS = 10.0  # how long publishing waits for another curator who is publishing
PUBLISHING_LEASE = "texts"  # one curator publishes at a time, on all machines
PRIVATE_HEADERS = {"cache-control": "private, no-store"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPartDescription:
    """A part of a text, as one user edits it.

    Attributes
    ----------
    name, kind, about, language
        Its name in forms, its kind, its table, empty for none, and its language.
    text, now
        The text of the draft, and the current text.
    base
        Digest of the text that the draft began with.
    changed
        Whether the draft differs from the current text.
    clash
        Differences, if another user has changed the text since; otherwise empty.
    """

    name: str
    kind: str
    about: str
    language: str
    text: str
    now: str
    base: str
    changed: bool
    clash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDescription:
    """A text, as one user edits it.

    Attributes
    ----------
    path, shows
        Path of the page where it is edited, and address of the page that shows it.
    parts
        Its parts.
    draft
        When the draft was saved; None without a draft.
    others
        Drafts of other users.
    day
        Day of a new piece of news.
    new, published
        Whether it is a new piece of news, and whether it was published just now.
    history
        Changes of its files.
    problem, remedy, faults
        Why it could not be published.
    """

    title: str
    path: str
    shows: str
    parts: Sequence[TextPartDescription]
    draft: str | None
    others: Sequence[Mapping[str, object]]
    day: str
    new: bool
    published: bool
    history: Sequence[file_history.FileChange]
    problem: str | None
    remedy: str
    faults: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditPage(TemplateContext):
    """The list of the texts that a user may edit, or one of them.

    Attributes
    ----------
    one
        The text that is edited; None for the list.
    previews
        Its parts in Markdown as pages show them, by the names of the parts.
    home, new
        Addresses where the home page and a new piece of news are edited; empty for users who may not.
    news, collections
        News and collections whose texts the user may edit.
    drafts
        All drafts of these texts.
    """

    template = "curating/edit.html"
    one: TextDescription | None = None
    previews: Mapping[str, Markup]
    home: str = ""
    new: str = ""
    news: Sequence[Mapping[str, object]] = ()
    collections: Sequence[PageLink] = ()
    drafts: Sequence[Mapping[str, object]] = ()


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/edit``, ``/edit/home``, ``/edit/news/NAME`` and ``/edit/collections/NAME``."""
    endpoints = _EditEndpoints(context)
    page_endpoint = build_page_endpoint(endpoints.show_overview, context)
    routes = [Route("/edit", page_endpoint, methods=["GET"])]
    for kind, path in EDIT_PATHS.items():
        show_endpoint = build_page_endpoint(partial(endpoints.show_text, kind), context)
        change_endpoint = build_page_endpoint(partial(endpoints.change_text, kind), context)
        routes.append(Route(path, show_endpoint, methods=["GET"]))
        routes.append(Route(path, change_endpoint, methods=["POST"]))
    return routes


class _EditEndpoints:
    """The endpoints of the editor's pages."""

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.site = context.site
        self.settings = self.site.settings
        self.drafts = self.site.store.get_or_create(DraftStore)

    @staticmethod
    def check_logged_in(page_context: PageContext) -> None:
        if page_context.principal.is_anonymous:
            raise UnauthenticatedError("this page requires a login", remedy="log in at /login")

    def check_portal_editor(self, page_context: PageContext, file_name: str) -> None:
        """Refuse users who may not edit a file of this portal."""
        self.check_logged_in(page_context)
        if not can_edit_portal(page_context.principal, self.context, page_context.brand):
            raise ForbiddenError(
                "only administrators of this portal may edit its texts",
                remedy=(
                    "ask one of the administrators; hven.toml lists them in the portal's `administrators` and in "
                    "`health.operators`"
                ),
            )
        is_shared = editable_texts.is_shared_file(file_name, page_context.brand, self.settings)
        if is_shared and not self.context.is_operator(page_context.principal):
            raise ForbiddenError(
                "other portals also use this text",
                remedy=(
                    "ask the site's operators to edit the text, or to specify a separate file for this portal in "
                    "hven.toml"
                ),
            )

    def find_editable_text(self, page_context: PageContext, kind: str) -> EditableText:
        """Return the text that an address names, if the user may edit it."""
        name = page_context.request.path_params.get("name", "").removesuffix(".json")
        if kind == "home":
            self.check_portal_editor(page_context, page_context.brand.text)
            return editable_texts.build_home_text(page_context)
        if kind == "news":
            self.check_portal_editor(page_context, page_context.brand.news)
            return editable_texts.build_news_text(page_context, name)
        self.check_logged_in(page_context)
        editable_names = {resource.name for resource in editable_texts.list_editable_collections(page_context)}
        if name in editable_names:
            return editable_texts.build_collection_text(page_context, name)
        published_names = page_context.published_state.resources
        visible_names = {schema.name for schema in page_context.catalogue.schemas if schema.name in published_names}
        if name in visible_names:
            raise ForbiddenError(
                "only curators of a collection may edit its texts",
                remedy="ask an operator (health.operators), an administrator of the portal or a curator of the project "
                "to edit them",
            )
        raise NotFoundError(
            format_message("there is no collection {name!r} here", name[:80]),
            remedy="see the collections on the home page",
        )

    async def show_overview(self, page_context: PageContext) -> PageContent:
        self.check_logged_in(page_context)
        return await anyio.to_thread.run_sync(self._build_edit_overview_page, page_context)

    def _build_edit_overview_page(self, page_context: PageContext) -> PageContent:
        is_portal_editor = can_edit_portal(page_context.principal, self.context, page_context.brand)
        operates = self.context.is_operator(page_context.principal)
        editable_collections = editable_texts.list_editable_collections(page_context)
        if not is_portal_editor and not editable_collections:
            raise ForbiddenError(
                "only curators may edit texts on this site",
                remedy="ask an operator (health.operators), an administrator of a portal or a curator of a project to "
                "edit them",
            )
        brand = page_context.brand
        home = is_portal_editor and (operates or not editable_texts.is_shared_file(brand.text, brand, self.settings))
        news = is_portal_editor and (operates or not editable_texts.is_shared_file(brand.news, brand, self.settings))
        collection_paths = {}
        collection_entries = []
        for resource in editable_collections:
            collection_path = f"/edit/collections/{quote(resource.name)}"
            collection_paths[f"collections/{resource.name}"] = collection_path
            collection_entries.append(
                PageLink(title=resource.title or resource.name, url=f"{page_context.base}{collection_path}")
            )
        subject_prefix = f"{brand.portal}:"
        drafts = []
        for subject, owner, at in self.drafts.list_drafts():
            own_subject = subject.removeprefix(subject_prefix)
            is_home = home and subject == f"{subject_prefix}home"
            is_news = news and subject.startswith(f"{subject_prefix}news/")
            if subject in collection_paths or is_home or is_news:
                draft_path = collection_paths.get(subject) or f"/edit/{own_subject}"
                day_and_time = at[:16].replace("T", " ")
                drafts.append(
                    {"url": f"{page_context.base}{draft_path}", "name": own_subject, "by": owner, "at": day_and_time}
                )
        page = EditPage(
            previews={},
            home=f"{page_context.base}/edit/home" if home else "",
            new=f"{page_context.base}/edit/news/{editable_texts.NEW_NAME}" if news else "",
            news=editable_texts.build_news_links(page_context) if news else [],
            collections=collection_entries,
            drafts=drafts,
        )
        json_content = {
            "home": page.home,
            "new": page.new,
            "news": page.news,
            "collections": collection_entries,
            "drafts": drafts,
        }
        return PageContent(page=page, json_content=json_content, headers=PRIVATE_HEADERS)

    async def show_text(self, kind: str, page_context: PageContext) -> PageContent:
        def build_page() -> PageContent:
            return self._build_edit_page(self.find_editable_text(page_context, kind), page_context)

        return await anyio.to_thread.run_sync(build_page)

    async def change_text(self, kind: str, page_context: PageContext) -> PageContent:
        await anyio.to_thread.run_sync(self.find_editable_text, page_context, kind)
        if is_cross_site_change_request(page_context.request, self.settings):
            raise ForbiddenError("the request comes from a page on another site", remedy="use the form on this page")
        params = await services.read_params(page_context.request, MAX_FORM_BYTES)
        return await anyio.to_thread.run_sync(self._save_discard_or_publish_text, page_context, kind, params)

    def _save_discard_or_publish_text(
        self, page_context: PageContext, kind: str, params: services.RequestParams
    ) -> PageContent:
        text = self.find_editable_text(page_context, kind)
        action = (params.read_one("ACT") or "save").lower()
        name = str(page_context.principal.name)
        day = params.read_one("DAY") or ""
        if action == "discard":
            self.drafts.delete_draft(name, text.subject)
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
            new_text = editable_texts.normalize_and_check_text(part, params.read_one(part.name.upper()) or "")
            if editable_texts.compute_text_digest(new_text) != base:
                texts[part.name] = new_text
                bases[part.name] = base
        if not texts:
            self.drafts.delete_draft(name, text.subject)
            return build_redirect(f"{page_context.base}{text.edit_path}")
        # the draft is saved first: whatever happens now, the user's text is kept
        self.drafts.save_draft(name, text.subject, texts, bases)
        if action != "publish":
            day_query = f"?day={quote(day)}" if day else ""
            return build_redirect(f"{page_context.base}{text.edit_path}{day_query}#preview")
        try:
            with self.site.store.leases.hold_lease(
                PUBLISHING_LEASE, description="a text that is published", wait_seconds=LEASE_TIMEOUT_SECONDS
            ):
                current_text = self.find_editable_text(page_context, kind)
                published_text = self._publish_text(current_text, page_context, texts, bases, day=day)
        except (UserError, ServiceError) as error:
            current_text = self.find_editable_text(page_context, kind)
            return self._build_edit_page(current_text, page_context, problem=error, day=day)
        return build_redirect(f"{page_context.base}{published_text.edit_path}?published=1")

    def _publish_text(
        self,
        text: EditableText,
        page_context: PageContext,
        texts: Mapping[str, str],
        bases: Mapping[str, str],
        *,
        day: str,
    ) -> EditableText:
        """Write a draft into its files, unless these have changed since the draft began."""
        name = str(page_context.principal.name)
        subject = text.subject
        new_texts = {part.name: texts[part.name] for part in text.parts if part.name in texts}
        if any(_has_conflict(part, texts, bases) for part in text.parts):
            raise ConflictError(
                "somebody has changed the text since you began to edit it",
                remedy="compare the two versions, then publish yours again",
            )
        if text.subject.endswith(f":news/{editable_texts.NEW_NAME}"):
            text = editable_texts.assign_news_file(text, new_texts, day)
        elif ":news/" in text.subject and new_texts.get(text.parts[0].name) == "":
            new_texts = {part.name: "" for part in text.parts}  # no page shows a translation without its text
        new_files = editable_texts.build_changed_files(text, new_texts, self.settings)
        file_history.write_files_with_history(new_files, self.settings.directory, name)
        self.drafts.delete_draft(name, subject)
        names = sorted(path.relative_to(self.settings.directory).as_posix() for path in new_files)
        event_facts = {"files": names, "portal": page_context.brand.portal}
        edited_path = text.edit_path.removeprefix("/edit/")
        self.site.store.grants.log_event(name, "text published", edited_path, event_facts)
        return text

    def _build_edit_page(
        self, text: EditableText, page_context: PageContext, *, problem: HvenError | None = None, day: str = ""
    ) -> PageContent:
        draft = self.drafts.find_draft(str(page_context.principal.name), text.subject)
        if text.subject.startswith("collections/"):
            collection_name = text.subject.removeprefix("collections/")
            pictures = f"{page_context.base}/help/{quote(collection_name)}/"
        else:
            pictures = ""
        if draft is not None:
            texts, bases = (draft.texts, draft.bases)
        else:
            texts, bases = ({}, {})
        parts = [_describe_text_part(part, texts, bases) for part in text.parts]
        previews = {
            part.name: render_markdown(part.text, base_address=pictures) for part in parts if part.kind == "text"
        }
        other_drafts = []
        for subject, owner, at in self.drafts.list_drafts():
            if subject == text.subject and owner != page_context.principal.name:
                day_and_time = at[:16].replace("T", " ")
                other_drafts.append({"by": owner, "at": day_and_time})
        changes: list[file_history.FileChange] = []
        is_new = text.edit_path.endswith(f"/{editable_texts.NEW_NAME}")
        if not is_new:
            for file in dict.fromkeys(part.file for part in text.parts):
                changes += file_history.list_file_changes(file, self.settings.directory)
        changes.sort(key=lambda change: change.at, reverse=True)
        translate = page_context.translator
        if isinstance(problem, DescriptorError):
            faults = problem.faults
        else:
            faults = ()
        query_params = page_context.request.query_params
        description = TextDescription(
            title=text.title,
            path=text.edit_path,
            shows=f"{page_context.base}{text.view_path}",
            parts=parts,
            draft=draft.at[:16].replace("T", " ") if draft is not None else None,
            others=other_drafts,
            day=(day or query_params.get("day", ""))[:10],
            new=is_new,
            published=query_params.get("published") == "1" and draft is None,
            history=changes[: file_history.MAX_SHOWN_CHANGES],
            problem=None if problem is None or faults else translate(problem.message),
            remedy=translate(problem.remedy) if problem is not None else "",
            faults=[str(fault) for fault in faults],
        )
        if problem is None:
            status = 200
        else:
            status = services.find_http_status(problem)
        page = EditPage(one=description, previews=previews)
        return PageContent(page=page, json_content=description, status=status, headers=PRIVATE_HEADERS)


def _has_conflict(part: EditableTextPart, texts: Mapping[str, str], bases: Mapping[str, str]) -> bool:
    """Return whether another user has changed the text of a draft in a different way."""
    draft_text = texts.get(part.name)
    if draft_text is None or draft_text == part.text:
        return False
    return bases.get(part.name, part.digest) != part.digest


def _describe_text_part(
    part: EditableTextPart, texts: Mapping[str, str], bases: Mapping[str, str]
) -> TextPartDescription:
    text = texts.get(part.name, part.text)
    conflict_text = ""
    if _has_conflict(part, texts, bases):
        conflict_text = file_history.build_unified_diff(part.text, text, part.file.name)
    return TextPartDescription(
        name=part.name,
        kind=part.kind,
        about=part.table_name,
        language=part.language,
        text=text,
        now=part.text,
        base=bases.get(part.name, part.digest),
        changed=text != part.text,
        clash=conflict_text,
    )


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={
        "home.curators": "home_link.html",
        "news.curators": "news_link.html",
        "collection.curators": "collection_link.html",
        "project.curators": "project_link.html",
    },
)
