"""Fetch documents of a service, with limits on size and time, and parse them safely."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lxml import etree

from hven.formats.api.xml_input import SAFE_PARSER_OPTIONS
from hven.model.errors import HvenError, SourceError, TooLargeError
from hven.sources.api.services import RequestOptions, RunBudget, ServiceClient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.sources import SourceContext

MAX_DOCUMENT_BYTES = 64 << 20
MAX_MIGRATION_BYTES = 2 << 30  # of all documents of a survey
MAX_MIGRATION_SECONDS = 1800.0
SILENCE_SECONDS = 30.0
ATTEMPT_COUNT = 3
MISSING_STATUSES = {404, 405, 410}


class MissingDocumentError(SourceError):
    """The service has no such document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteDocument:
    """A document that a service returned with status 200.

    Attributes
    ----------
    url
        The address, after redirects.
    headers
        By lower-case name.
    body
        The content.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes

    def parse_xml(self) -> etree._Element:
        """Parse the document as XML.

        Raises
        ------
        SourceError
            It is none.
        """
        try:
            return etree.fromstring(self.body, etree.XMLParser(**SAFE_PARSER_OPTIONS))
        except etree.XMLSyntaxError as error:
            raise SourceError(
                f"{self.url} did not return well-formed XML: {error.msg}",
                remedy="open the address in a browser to see what it returns",
            ) from error

    def parse_json(self) -> Any:
        """Parse the document as JSON.

        Raises
        ------
        SourceError
            It is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise SourceError(
                f"{self.url} did not return JSON: {error}",
                remedy="open the address in a browser to see what it returns",
            ) from error


class RemoteDocumentReader:
    """Fetches the documents of one service.

    Parameters
    ----------
    url
        Address of the service.
    context
        Decides which addresses are allowed.
    """

    def __init__(self, url: str, context: SourceContext) -> None:
        options = RequestOptions(
            seconds=SILENCE_SECONDS, tries=ATTEMPT_COUNT, bytes=MAX_MIGRATION_BYTES, total=MAX_MIGRATION_SECONDS
        )
        self._service = ServiceClient(url, context, options=options)
        self._service.check_address()
        self._budget = RunBudget(options, self._service.host, "and ask for fewer tables with --table")
        self._service.budget = self._budget
        self.problems: list[str] = []  # of documents that a service need not have

    def fetch(self, url: str, byte_limit: int | None = None) -> RemoteDocument:
        """Fetch a document.

        Parameters
        ----------
        url
            Its address.
        byte_limit
            Maximum number of its bytes; None: `MAX_DOCUMENT_BYTES`.

        Raises
        ------
        SourceError
            The service does not respond, or with another status than 200.
        TooLargeError
            The document is larger.
        ForbiddenError
            The address, or one to which it redirects, is not on the public internet.
        """
        limit = MAX_DOCUMENT_BYTES if byte_limit is None else byte_limit

        def request_once() -> RemoteDocument:
            with self._service.request("GET", url) as answer:
                if answer.status != 200:
                    error_class = MissingDocumentError if answer.status in MISSING_STATUSES else SourceError
                    raise error_class(
                        f"{url} returned status {answer.status}", remedy="check the address of the service"
                    )
                body = bytearray()
                for part in answer.parts:
                    body += part
                    if len(body) > limit:
                        raise TooLargeError(f"{url} returned more than {limit:,} bytes")
                return RemoteDocument(url=answer.url, headers=dict(answer.headers), body=bytes(body))

        return self._service.retry(request_once)

    def find(self, url: str, byte_limit: int | None = None) -> RemoteDocument | None:
        """Fetch a document that a service need not have; None: it has none, or `problems` says why it was not read."""
        try:
            return self.fetch(url, byte_limit)
        except MissingDocumentError:
            return None
        except HvenError as error:
            self.problems.append(error.message)
            return None


def find_text(element: etree._Element, path: str) -> str:
    """Return the text of a descendant, with single blanks; empty: there is none.

    Parameters
    ----------
    element
        The element.
    path
        Path of the descendant; names without a namespace.
    """
    descendant = element.find("/".join(f"{{*}}{name}" for name in path.split("/")))
    if descendant is None:
        return ""
    return " ".join(join_text(descendant).split())


def join_text(element: etree._Element) -> str:
    """Join the texts of an element and its descendants.

    Parameters
    ----------
    element
        The element.
    """
    return "".join(str(text) for text in element.itertext())
