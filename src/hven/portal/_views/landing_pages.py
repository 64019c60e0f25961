"""What plug-in packages add to the pages of collections and releases: documents, headers, and pages of what is gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response

from hven.formats import list_accepted_media_types
from hven.model import plugins
from hven.model.errors import NotFoundError, format_message
from hven.portal._pages import VARY_HEADERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.portal._views.page_formats import PageContent, PageContext
    from hven.services.citations import CitationMetadata

HTML_MEDIA_TYPE = "text/html"
# media types of the landing page itself
LANDING_PAGE_MEDIA_TYPES = {
    HTML_MEDIA_TYPE,
    "application/xhtml+xml",
    "application/json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedDocument:
    """A document that describes a collection or a release.

    Attributes
    ----------
    url
        Its address.
    type
        Its media type.
    name
        Its title.
    """

    url: str
    type: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingPageExtension:
    """What a plug-in package adds to the pages of collections and releases.

    Attributes
    ----------
    list_documents
        Lists documents that describe a collection or a release, from the address of its page. The page links them.
    list_feeds
        Lists feeds with the changes of a collection, from the address of its page. The page links them.
    negotiated_paths
        Media type -> path of a document, relative to the address of the page. A client that prefers the media type to
        those of the page is redirected.
    build_headers
        Builds headers of the page for programs, from the reader and the metadata of the collection or the release.
        Values of the same header are joined by commas.
    build_tombstone
        Builds the page of a collection or a release that is gone, from its names; the second one is empty for a
        collection. None: it knows nothing of it.
    """

    list_documents: Callable[[str], Sequence[LinkedDocument]] = lambda _: ()
    list_feeds: Callable[[str], Sequence[LinkedDocument]] = lambda _: ()
    negotiated_paths: Mapping[str, str] = field(default_factory=dict)
    build_headers: Callable[[PageContext, CitationMetadata], Mapping[str, str]] = lambda *_: {}
    build_tombstone: Callable[[PageContext, str, str], PageContent | None] = lambda *_: None


@plugins.cache_until_selection
def load_landing_page_extensions() -> Sequence[LandingPageExtension]:
    """Load what the packages in use add to these pages; what cannot be loaded is left out, and goes to the log."""
    return [extension for _, extension in plugins.iterate_package_objects("landing_pages")]


def list_landing_page_documents(address: str) -> list[LinkedDocument]:
    """List the documents that describe a collection or a release, from the address of its page."""
    return [document for extension in load_landing_page_extensions() for document in extension.list_documents(address)]


def list_collection_feeds(address: str) -> list[LinkedDocument]:
    """List the feeds with the changes of a collection, from the address of its page."""
    return [feed for extension in load_landing_page_extensions() for feed in extension.list_feeds(address)]


def build_landing_page_headers(page_context: PageContext, citation_metadata: CitationMetadata) -> dict[str, str]:
    """Build the headers for programs of the page of a collection or a release."""
    headers: dict[str, str] = {}
    for extension in load_landing_page_extensions():
        for name, value in extension.build_headers(page_context, citation_metadata).items():
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def build_tombstone_page(page_context: PageContext, name: str, label: str) -> PageContent:
    """Build the page of a collection or a release that is gone.

    Raises
    ------
    NotFoundError
        No package knows anything of it.
    """
    for extension in load_landing_page_extensions():
        tombstone = extension.build_tombstone(page_context, name, label)
        if tombstone is not None:
            return tombstone
    message = format_message("there is no collection {name!r} here", name[:80])
    raise NotFoundError(message, remedy="see the home page for the list of collections")


def wrap_with_document_negotiation(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Redirect a client that asks a landing page for a document of a package to that document.

    This is content negotiation as at doi.org.

    Parameters
    ----------
    endpoint
        The endpoint of the landing page, for all other clients.

    Returns
    -------
    endpoint
        Answers 303 to a client whose preferred known media type is that of a document.
    """

    async def answer_negotiated(request: Request) -> Response:
        paths: dict[str, str] = {}
        for extension in load_landing_page_extensions():
            paths |= extension.negotiated_paths
        accepted_types = list_accepted_media_types(request.headers.get("accept", ""))
        media_types = [media_type.partition(";")[0].lower() for media_type in accepted_types]
        known_types = [media for media in media_types if media in paths or media in LANDING_PAGE_MEDIA_TYPES]
        first_media_type = known_types[0] if known_types else HTML_MEDIA_TYPE
        if first_media_type not in paths:
            return await endpoint(request)
        # relative to the page: the same behind any proxy and in any portal
        page_name = quote(request.url.path.rpartition("/")[2])
        headers = {
            "location": f"{page_name}/{paths[first_media_type]}",
            "vary": VARY_HEADERS,
            "access-control-allow-origin": "*",
        }
        return Response(status_code=303, headers=headers)

    return answer_negotiated
