"""List the products of a row of a remote table: its file, or the links of its DataLink document."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hven.model import plugins
from hven.model.errors import HvenError, SourceError, format_message
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.portal.api.page_rows import RowPage
    from hven.portal.api.pages import MessageTranslator
    from hven.site import Site

MAX_DOCUMENT_BYTES = 1 << 20  # of a DataLink document
MAX_LINKS = 200  # of one row
IDLE_TIMEOUT_SECONDS = 10.0  # without a byte
TOTAL_TIMEOUT_SECONDS = 15.0
MAX_ADDRESS_CHARACTERS = 4000
DATALINK_MARK = "content=datalink"  # in media types (DataLink 1.1, section 3.3)
WEB_PREFIXES = ("http://", "https://", "ftp://")


def read_row_values(page: RowPage) -> dict[str, Any]:
    """Return the values of the first row of a page.

    Parameters
    ----------
    page
        A page of one row.

    Returns
    -------
    values
        The values by the names of their columns, in lower case.
    """
    return {column.name.lower(): page.rows.column(number)[0].as_py() for number, column in enumerate(page.columns)}


def find_row_file(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the address and the size of a row's file; None if it has none, or a DataLink document instead.

    Parameters
    ----------
    values
        The values of the row.

    Returns
    -------
    file
        ``href`` and ``bytes``, as in the panel of a row.
    """
    address = _check_web_address(values.get("access_url"))
    if not address or DATALINK_MARK in str(values.get("access_format") or ""):
        return None
    kilobytes = values.get("access_estsize")
    byte_count = None
    if isinstance(kilobytes, int | float) and kilobytes > 0:
        byte_count = int(kilobytes * 1000)
    return {"href": address, "bytes": byte_count}


def list_row_products(values: Mapping[str, Any], site: Site, translator: MessageTranslator) -> list[dict[str, Any]]:
    """List the links of a row's DataLink document, as in the panel of a row.

    A document that cannot be read is a link, too, whose text is the reason.

    Parameters
    ----------
    values
        The values of the row.
    site
        The site.
    translator
        Translates the reason to the language of the page.

    Returns
    -------
    links
        The links; empty if the row has no DataLink document.
    """
    address = _check_web_address(values.get("datalink_url"))
    if not address and DATALINK_MARK in str(values.get("access_format") or ""):
        address = _check_web_address(values.get("access_url"))
    if not address:
        return []
    try:
        links = _fetch_links(address, site)
    except HvenError as error:
        message = translator(format_message("the links cannot be read: {message}", error.message))
        links = [_build_link(text=message, href=address)]
    return links


def _fetch_links(address: str, site: Site) -> list[dict[str, Any]]:
    """Fetch and read a DataLink document; services that need parameters become a link to the document."""
    body = http_client.fetch_bytes(
        address,
        byte_limit=MAX_DOCUMENT_BYTES,
        timeout_seconds=IDLE_TIMEOUT_SECONDS,
        total_timeout_seconds=TOTAL_TIMEOUT_SECONDS,
        allow_private=site.settings.allow_private,
        max_attempts=1,
    )
    try:
        table_stream = plugins.load_plugin("formats", "votable").FORMAT.read(io.BytesIO(body), batch=MAX_LINKS)
        rows = [row for batch in table_stream.batches for row in batch.to_pylist()]
    except HvenError:
        raise
    except Exception as error:  # foreign VOTables are read by several libraries, each with errors of its own
        raise SourceError(format_message("its VOTable cannot be read ({error})", type(error).__name__)) from error
    links = []
    has_services = False
    for row in rows[:MAX_LINKS]:
        link_facts = {str(name).lower(): value for name, value in row.items()}
        href = _check_web_address(link_facts.get("access_url"))
        if href:
            links.append(_describe_link(link_facts, href))
        has_services = has_services or bool(link_facts.get("service_def"))
    if has_services or len(rows) > MAX_LINKS:
        links.append(_build_link(text="DataLink", href=address))
    return links


def _describe_link(link_facts: Mapping[str, Any], href: str) -> dict[str, Any]:
    semantics = str(link_facts.get("semantics") or "")
    file_name = unquote(href.partition("?")[0].rstrip("/").rpartition("/")[2])
    description = str(link_facts.get("description") or "")
    media_type = str(link_facts.get("content_type") or "")
    content_length = link_facts.get("content_length")
    byte_count = None
    if isinstance(content_length, int | float) and content_length > 0:
        byte_count = int(content_length)
    link = _build_link(text=(description or file_name or href)[:200], href=href)
    return {**link, "semantics": semantics.removeprefix("#"), "type": media_type[:100], "bytes": byte_count}


def _build_link(*, text: str, href: str) -> dict[str, Any]:
    return {"text": text, "href": href, "semantics": "", "type": "", "bytes": None, "picture": False, "locked": False}


def _check_web_address(value: object) -> str:
    """Return an address if it is one of the web; a remote service may send anything."""
    address = str(value or "").strip()
    if address.lower().startswith(WEB_PREFIXES) and len(address) <= MAX_ADDRESS_CHARACTERS:
        return address
    return ""
