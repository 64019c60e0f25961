"""Extract the values of columns from documents.

A document is a FITS header (as it is, as lines, or in the `<pre>` of a page), a record of JSON or XML, or has a form
that a plug-in adds.
"""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.sources import fits_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

WHOLE_TEXT_KEY = "*"  # the key of the whole text
_CARD_PATTERN = re.compile(r"(?:HIERARCH\s+)?([A-Z][A-Z0-9_. -]*?)\s*=(?:\s|$)(.*)", re.DOTALL)
_HTML_PATTERN = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html|head|body|pre)\b", re.IGNORECASE)
_HTML_TAG_PATTERN = re.compile(r"</?[A-Za-z][^<>]*>")
_END_LINE_PATTERN = re.compile(rb"(?:^|\r?\n)END[ \t]*\r?(?:\n|$)")
_NUMBER_PATTERN = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?\s*")


class InvalidDocumentError(Exception):
    """The document does not have the expected form; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentForm:
    """A form of documents, of which `enrich:` reads values: ``DOCUMENT`` of a module of the group `hven.documents`.

    Attributes
    ----------
    create_lookup
        Parse a document of which keys are wanted, and return a function that looks up one of them; it returns None for
        a key that the document lacks. It raises `InvalidDocumentError` if the document does not have this form.
    """

    create_lookup: Callable[[bytes, Collection[str]], Callable[[str], object]]


def is_web_page(body: bytes) -> bool:
    """Return whether a document is a page of HTML, which servers send in the place of what they do not have.

    Parameters
    ----------
    body
        The document.
    """
    return _HTML_PATTERN.match(body) is not None


def _create_header_lookup(body: bytes, keywords: Collection[str]) -> Callable[[str], object]:
    lines = _split_header_lines(body)
    cards = fits_headers.parse_cards(_select_cards(lines, keywords), keywords)
    return cards.card_values.get


def _select_cards(lines: list[str], keywords: Collection[str]) -> list[str]:
    """Find the cards of some keywords, with those that continue them."""
    cards: list[str] = []
    is_continued = False
    for line in lines:
        key_text = line.partition("=")[0].removeprefix("HIERARCH")
        key = " ".join(key_text.split())
        continues = is_continued and line.startswith("CONTINUE")
        is_continued = key in keywords or continues
        if is_continued and (card := _convert_line_to_card(line)) is not None:
            cards.append(card)
    return cards


def _split_header_lines(body: bytes) -> list[str]:
    """Cut a header into lines.

    Raises
    ------
    InvalidDocumentError
        The document is no header, or has no end.
    """
    if body.startswith(b"SIMPLE  =") and not re.search(rb"[\r\n]", body[:81]):
        text = body.decode("latin-1")
        lines: list[str] = []
        for at in range(0, len(text), 80):
            card = text[at : at + 80]
            if card.rstrip() == "END":
                return lines
            lines.append(card)
        raise InvalidDocumentError("it ends in the middle of the header")
    text = body.decode("utf-8", "replace")
    is_page = is_web_page(body)
    complaint = "it is not a header"
    if is_page:
        complaint = "it is a web page without a header"
        preformatted_text = _HTML_TAG_PATTERN.sub("", _extract_pre_sections(text))
        text = html.unescape(preformatted_text)
    lines = text.splitlines()
    if not any(_convert_line_to_card(line) for line in lines):
        raise InvalidDocumentError(complaint)
    if not is_page and _END_LINE_PATTERN.search(body) is None:
        raise InvalidDocumentError("it ends in the middle of the header")
    return lines


def _extract_pre_sections(text: str) -> str:
    """Return the text in all `<pre>` sections of a page."""
    sections = []
    lower = text.lower()
    at = 0
    while (begin := lower.find("<pre", at)) >= 0:
        begin = lower.find(">", begin) + 1
        at = lower.find("</pre", begin)
        if not begin or at < 0:
            raise InvalidDocumentError("it ends in the middle of the header")
        sections.append(text[begin:at])
    return "\n".join(sections)


def _convert_line_to_card(line: str) -> str | None:
    """Write a line as a card has it: keywords in their eight columns, longer ones behind HIERARCH."""
    line = line.rstrip()
    if line[8:10] == "= " or line.startswith(("CONTINUE", "COMMENT ", "HISTORY ")):
        return line
    match = _CARD_PATTERN.match(line.lstrip())
    if match is None:
        return None
    key = " ".join(match[1].split())
    value_text = match[2]
    if len(key) <= 8 and " " not in key:
        return f"{key:8}= {value_text}"
    return f"HIERARCH {key} = {value_text}"


def _create_json_lookup(body: bytes, keys: Collection[str]) -> Callable[[str], object]:  # noqa: ARG001  (it parses all)
    try:
        record = json.loads(body)
    except (ValueError, RecursionError) as error:
        complaint = f"it is not JSON: {error}"
        if is_web_page(body):
            complaint = "it is a web page, not JSON"
        raise InvalidDocumentError(complaint) from None
    if not isinstance(record, dict):
        raise InvalidDocumentError("it is not a JSON object")

    def find_value(key: str) -> object:
        if key in record:
            return record[key]
        value: object = record
        for step in key.split("."):
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    return find_value


def _create_xml_lookup(body: bytes, paths: Collection[str]) -> Callable[[str], object]:  # noqa: ARG001  (it parses all)
    from lxml import etree  # noqa: PLC0415  (only for those who have such documents)

    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        complaint = f"it is not XML: {error}"
        if is_web_page(body):
            complaint = "it is a web page, not XML"
        raise InvalidDocumentError(complaint) from None

    if etree.QName(root).localname == "VOTABLE":
        _check_query_status(root)

    def find_value(key: str) -> object:
        path, at, attribute = key.partition("@")
        steps = [f"{{*}}{step}" for step in path.strip("/").split("/") if step]
        element = root
        if steps:
            element = root.find("/".join(steps))
        if element is None:
            return None
        if at:
            return element.get(attribute)
        return (element.text or "").strip() or None

    return find_value


def _check_query_status(root: Any) -> None:
    """Refuse a VOTable that its service cut off, or that reports an error (DALI 1.1, section 4.4.1)."""
    for info in root.iterfind(".//{*}INFO"):
        if (info.get("name") or "").upper() != "QUERY_STATUS":
            continue
        status = (info.get("value") or "").upper()
        if status == "OVERFLOW":
            raise InvalidDocumentError("it is a VOTable that was truncated (QUERY_STATUS=OVERFLOW)")
        if status == "ERROR":
            raise InvalidDocumentError(f"it is a VOTable with an error: {' '.join((info.text or '').split())[:200]}")


DOCUMENT_FORMS = {
    "header": DocumentForm(create_lookup=_create_header_lookup),
    "json": DocumentForm(create_lookup=_create_json_lookup),
    "xml": DocumentForm(create_lookup=_create_xml_lookup),
}


def list_document_forms() -> list[str]:
    """List the names of all forms, built-in and plugged in, in alphabetical order."""
    return sorted([*DOCUMENT_FORMS, *plugins.list_plugins("documents")])


def load_document_form(name: str) -> DocumentForm:
    """Load a form by its name.

    Raises
    ------
    UserError
        There is no such form, or its package is not in use.
    """
    if name in DOCUMENT_FORMS:
        return DOCUMENT_FORMS[name]
    form: DocumentForm = vars(plugins.load_plugin("documents", name))["DOCUMENT"]
    return form


def extract_values(
    body: bytes, document_form: str, columns: Sequence[tuple[Sequence[str], str, bool]]
) -> tuple[list[Any], str]:
    """Extract the values of columns from a document.

    Parameters
    ----------
    columns
        Keys of each column, kind of its values (``int``, ``float``, ``bool``, ``text``), and whether it is an array of
        them.

    Returns
    -------
    values, doubt
        A value for each column, as JSON has it; and a description of what could not be read.

    Raises
    ------
    InvalidDocumentError
        The document does not have this form.
    """
    keys = {key for column_keys, _, _ in columns for key in column_keys}
    find_value = load_document_form(document_form).create_lookup(body, keys)
    doubts: list[str] = []
    values: list[Any] = []
    for column_keys, kind, is_array in columns:
        cells: list[Any] = []
        for key in column_keys:
            if key == WHOLE_TEXT_KEY:
                cells.append(body.decode("utf-8", "replace"))
            else:
                cells.append(_convert_value(find_value(key), kind, key, doubts))
        if is_array:
            values.append(cells)
        else:
            values.append(cells[0])
    return values, "; ".join(doubts)


def _convert_value(raw_value: object, kind: str, key: str, doubts: list[str]) -> object:
    """Convert a raw value to the wanted kind; a value that does not fit becomes None and adds to `doubts`."""
    if raw_value is None or raw_value == "":
        return None
    if kind == "text":
        return _format_text(raw_value)
    if kind == "bool":
        if isinstance(raw_value, bool) or raw_value in {"T", "F", "true", "false"}:
            return raw_value in {True, "T", "true"}
        doubts.append(f"{key} is {str(raw_value)[:40]!r}, which is neither true nor false")
        return None
    number = _to_number(raw_value, kind)
    if number is None:
        doubts.append(f"{key} is {str(raw_value)[:40]!r}, which is not a number")
    return number


def _format_text(raw_value: object) -> str | None:
    if isinstance(raw_value, (dict, list)):
        return json.dumps(raw_value, ensure_ascii=False)
    if isinstance(raw_value, (bool, str, int, float)):
        return fits_headers.format_value(raw_value)
    return str(raw_value)


def _to_number(raw_value: object, kind: str) -> float | int | None:
    """Convert a raw value to ``float`` or ``int``; None: it does not fit."""
    if isinstance(raw_value, str) and _NUMBER_PATTERN.fullmatch(raw_value):
        if kind == "float" or not raw_value.strip(" +-").isdigit():
            raw_value = float(raw_value.upper().replace("D", "E"))
        else:
            raw_value = int(raw_value)
    if not isinstance(raw_value, (int, float)) or isinstance(raw_value, bool) or not math.isfinite(raw_value):
        return None
    if kind == "float":
        return float(raw_value)
    if float(raw_value).is_integer() and abs(raw_value) < 2**63:
        return int(raw_value)
    return None
