"""Serve ``/projects``: the projects, whose members share collections.

Of a listed project, users who are no members see its name, its texts and its contact; of a hidden one nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.model.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ParamError,
    UnauthenticatedError,
    format_message,
)
from hven.portal._pages import TemplateContext, list_visible_projects
from hven.portal._pages.markdown import render_markdown
from hven.portal._views.dataset_metadata import list_releases
from hven.portal._views.help_pages import NOTE_CACHE
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint, build_redirect
from hven.services.addresses import is_cross_site_change_request
from hven.services.face import ServiceContext, ServiceFace
from hven.site.auth import PROJECT_ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import ProjectSettings

MAX_FORM_BYTES = 4096  # of a request
MAX_REQUEST_CHARACTERS = 500  # of the text of a user who asks to become a member
PRIVATE_HEADERS = {"cache-control": "private, no-store"}  # the page is of one reader


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPage(TemplateContext):
    """The list of projects, or one of them.

    Attributes
    ----------
    projects
        The projects that the reader may see, as in JSON.
    one
        The project that is shown, as in JSON, with the text of its news as ``html``; None for the list.
    """

    template = "project.html"
    projects: Sequence[Mapping[str, object]] = ()
    one: Mapping[str, object] | None = None


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/projects`` and ``/projects/NAME``.

    Parameters
    ----------
    context
        The site, its users and its services.

    Returns
    -------
    routes
        Routes of Starlette.
    """
    endpoints = _ProjectEndpoints(context)
    page_endpoint = build_page_endpoint(endpoints.list_projects, context)
    return [
        Route("/projects", page_endpoint),
        Route("/projects.json", build_page_endpoint(endpoints.list_projects, context)),
        Route("/projects/{name}", build_page_endpoint(endpoints.show_project, context)),
        Route("/projects/{name}", build_page_endpoint(endpoints.change_membership, context), methods=["POST"]),
    ]


class _ProjectEndpoints:
    """The endpoints of the pages of projects."""

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.site = context.site

    def find_project(self, page_context: PageContext) -> tuple[ProjectSettings, str | None]:
        name = page_context.request.path_params["name"].removesuffix(".json")
        for project, own_role in list_visible_projects(page_context.principal, self.site.settings):
            if project.name == name:
                return project, own_role
        raise NotFoundError(
            format_message("there is no project with the name {name!r}", name[:80]),
            remedy="see /projects for the list",
        )

    @staticmethod
    def describe_project(project: ProjectSettings, page_context: PageContext) -> dict[str, Any]:
        url = f"{page_context.base}/projects/{quote(project.name)}"
        texts = {"title": project.title or project.name, "description": project.description, "contact": project.contact}
        return {"name": project.name, "url": url, "path": urlsplit(url).path, **texts}

    async def list_projects(self, page_context: PageContext) -> PageContent:
        project_list = [
            self.describe_project(project, page_context)
            for project, _ in list_visible_projects(page_context.principal, self.site.settings)
        ]
        return PageContent(
            page=ProjectPage(projects=project_list),
            json_content={"projects": project_list},
            headers=PRIVATE_HEADERS,
        )

    async def show_project(self, page_context: PageContext) -> PageContent:
        project, own_role = self.find_project(page_context)
        return await anyio.to_thread.run_sync(self.build_project_page, project, own_role, page_context)

    def build_project_page(
        self, project: ProjectSettings, own_role: str | None, page_context: PageContext
    ) -> PageContent:
        grants = self.site.store.grants
        principal = page_context.principal
        is_curator = own_role is not None and PROJECT_ROLES.index(own_role) >= PROJECT_ROLES.index("curator")
        members: dict[str, list[str]] = {}
        if own_role:
            for grant in grants.list_grants("member", object=project.name):
                if grant.role in PROJECT_ROLES:
                    members.setdefault(grant.subject, []).append(grant.role)
        member_entries = []
        for name, roles in sorted(members.items()):
            highest_role = min(roles, key=PROJECT_ROLES.index)
            member_entries.append({"name": name, "role": highest_role})
        request_entries = []
        if is_curator:
            request_entries = [
                {"id": grant.id, "name": grant.subject, "at": grant.created[:10], "words": grant.facts.get("words", "")}
                for grant in grants.list_grants("asked", object=project.name)
            ]
        own_requests = []
        if principal.name:
            own_requests = grants.list_grants("asked", subject=principal.name, object=project.name)
        content = {
            **self.describe_project(project, page_context),
            "role": own_role,
            "members": member_entries,
            "asked": request_entries,
            "pending": bool(own_requests),
            **_list_project_collections(project, page_context),
        }
        news = [
            {"title": note.title, "day": str(note.day), "html": render_markdown(note.text)}
            for note in self.list_project_news(project, own_role, page_context)
        ]
        plain_news = [{name: item[name] for name in ("title", "day")} for item in news]
        json_content = {**content, "news": plain_news}
        return PageContent(
            page=ProjectPage(one={**content, "news": news}),
            json_content=json_content,
            headers=PRIVATE_HEADERS,
        )

    def list_project_news(self, project: ProjectSettings, own_role: str | None, page_context: PageContext) -> list[Any]:
        root = self.site.settings.directory
        if project.news is None:
            return []
        news_folders = [root / project.news / "public"]
        if own_role:
            news_folders.append(root / project.news)
        notes = [note for folder in news_folders for note in NOTE_CACHE.list_news(folder, root, page_context.language)]
        return sorted(notes, key=lambda note: str(note.day), reverse=True)

    async def change_membership(self, page_context: PageContext) -> PageContent:
        project, own_role = self.find_project(page_context)
        if is_cross_site_change_request(page_context.request, self.site.settings):
            raise ForbiddenError(
                "the request comes from a page on another site", remedy="use the form on the project page"
            )
        params = await services.read_params(page_context.request, MAX_FORM_BYTES)
        await anyio.to_thread.run_sync(self.apply_membership_change, project, own_role, page_context, params)
        return build_redirect(self.describe_project(project, page_context)["url"])

    def apply_membership_change(
        self, project: ProjectSettings, own_role: str | None, page_context: PageContext, params: services.RequestParams
    ) -> None:
        grants = self.site.store.grants
        name = page_context.principal.name
        if name is None:
            raise UnauthenticatedError("this page requires a login", remedy="log in at /login")
        if params.read_one("ASK") is not None:
            if own_role or grants.list_grants("asked", subject=name, object=project.name):
                raise ConflictError(
                    "you are already a member, or have already asked to join", remedy="wait for a reply"
                )
            request_text = (params.read_one("WORDS") or "")[:MAX_REQUEST_CHARACTERS]
            grants.add_grant("asked", subject=name, object=project.name, actor=name, facts={"words": request_text})
            return
        if own_role is None or PROJECT_ROLES.index(own_role) < PROJECT_ROLES.index("curator"):
            raise ForbiddenError("only curators and owners of a project may answer requests to join it")
        request_id = params.read_one("ACCEPT") or params.read_one("REFUSE")
        open_requests = grants.list_grants("asked", object=project.name)
        request_grant = next((grant for grant in open_requests if grant.id == request_id), None)
        if request_grant is None:
            raise ParamError("this request no longer exists", name="ACCEPT", remedy="reload the page")
        grants.revoke_grant(request_grant.id, actor=name)
        if params.read_one("ACCEPT"):
            grants.add_grant(
                "member", subject=request_grant.subject, object=project.name, role=PROJECT_ROLES[0], actor=name
            )


def _list_project_collections(project: ProjectSettings, page_context: PageContext) -> dict[str, Any]:
    """List the collections of a project, and their releases, that this reader sees."""
    collections: dict[str, dict[str, Any]] = {}
    for table in page_context.catalogue.iterate_tables():
        item = page_context.published_state.tables_by_name.get(table.qualified_name)
        if item is None or table.project != project.name or item.resource is None or item.release is not None:
            continue
        default_facts = {"title": item.resource.title or table.schema, "members": True}
        collection_facts = collections.setdefault(table.schema, default_facts)
        collection_facts["url"] = f"{page_context.base}/collections/{quote(table.schema)}"
        collection_facts["members"] &= table.access != "public"
    releases = list_releases(page_context, lambda item: item.table.project == project.name)
    return {"collections": list(collections.values()), "releases": releases}


FACE = ServiceFace(name="projects", title="Projects", build_routes=build_routes, is_site_wide=True)
