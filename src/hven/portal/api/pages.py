"""Pages of plug-in packages in the portal: their routes, contexts and templates, parts of other pages, and rights."""

from __future__ import annotations

from hven.portal._pages.brand import PortalBrand
from hven.portal._pages.editing_rights import can_edit_collection, can_edit_portal
from hven.portal._pages.package_pages import PAGE_PLACES, PagePlace, PortalPages
from hven.portal._pages.template_contexts import PageLink, TemplateContext
from hven.portal._pages.texts import list_languages
from hven.portal._views.page_formats import (
    PageContent,
    PageContext,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
    build_redirect,
)

__all__ = [
    "PAGE_PLACES",
    "PageContent",
    "PageContext",
    "PageLink",
    "PagePlace",
    "PortalBrand",
    "PortalPages",
    "TemplateContext",
    "build_error_responder",
    "build_page_context",
    "build_page_endpoint",
    "build_redirect",
    "can_edit_collection",
    "can_edit_portal",
    "list_languages",
]
