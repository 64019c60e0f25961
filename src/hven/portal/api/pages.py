"""Pages of plug-in packages in the portal: their routes, contexts and templates, and the rights of curators."""

from __future__ import annotations

from hven.portal._pages.editing_rights import can_edit_collection
from hven.portal._pages.package_pages import PortalPages
from hven.portal._pages.template_contexts import TemplateContext
from hven.portal._views.page_formats import (
    CollectionFile,
    PageContent,
    PageContext,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
    describe_requested_file,
)

__all__ = [
    "CollectionFile",
    "PageContent",
    "PageContext",
    "PortalPages",
    "TemplateContext",
    "build_error_responder",
    "build_page_context",
    "build_page_endpoint",
    "can_edit_collection",
    "describe_requested_file",
]
