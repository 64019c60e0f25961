"""Pages of plug-in packages in the portal: their routes, contexts and templates, parts of other pages, and rights."""

from __future__ import annotations

from hven.portal._pages import (
    SAMP_HUB_ORIGINS,
    SWITCH_PARAMETERS,
    VARY_HEADERS,
    ErrorPage,
    build_page_frame,
    build_page_security_headers,
    get_message_translator,
    render_page,
    render_page_part,
)
from hven.portal._pages.brand import PortalBrand, find_portal_brand
from hven.portal._pages.editing_rights import can_edit_collection, can_edit_portal
from hven.portal._pages.package_pages import PAGE_PLACES, PageExtensionPoint, PortalPages, find_package_page_address
from hven.portal._pages.template_contexts import PageLink, TemplateContext, record_to_dict
from hven.portal._pages.texts import DEFAULT_LANGUAGE, list_languages, load_page_translations
from hven.portal._pages.translation import MessageTranslator
from hven.portal._views.data import read_path_number, read_whole_number_parameter
from hven.portal._views.disconnect import RunningQueries, run_while_connected
from hven.portal._views.page_formats import (
    CollectionFile,
    PageContent,
    PageContext,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
    build_redirect,
    describe_requested_file,
    is_json_requested,
)

__all__ = [
    "DEFAULT_LANGUAGE",
    "PAGE_PLACES",
    "SAMP_HUB_ORIGINS",
    "SWITCH_PARAMETERS",
    "VARY_HEADERS",
    "CollectionFile",
    "ErrorPage",
    "MessageTranslator",
    "PageContent",
    "PageContext",
    "PageExtensionPoint",
    "PageLink",
    "PortalBrand",
    "PortalPages",
    "RunningQueries",
    "TemplateContext",
    "build_error_responder",
    "build_page_context",
    "build_page_endpoint",
    "build_page_frame",
    "build_page_security_headers",
    "build_redirect",
    "can_edit_collection",
    "can_edit_portal",
    "describe_requested_file",
    "find_package_page_address",
    "find_portal_brand",
    "get_message_translator",
    "is_json_requested",
    "list_languages",
    "load_page_translations",
    "read_path_number",
    "read_whole_number_parameter",
    "record_to_dict",
    "render_page",
    "render_page_part",
    "run_while_connected",
]
