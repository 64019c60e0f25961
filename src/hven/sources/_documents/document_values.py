"""What a document says: a FITS header (as it is, as lines, or in the `<pre>` of a page), a label, a record of JSON or XML -> values of columns."""

from __future__ import annotations

import html
import json
import math
import re
from typing import TYPE_CHECKING, Any

from hven.formats.media import read_label
from hven.model.errors import SourceError
from hven.sources import cards

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

WHOLE = "*"  # the key of the whole text
_CARD = re.compile(r"(?:HIERARCH\s+)?([A-Z][A-Z0-9_. -]*?)\s*=(?:\s|$)(.*)", re.DOTALL)
_PAGE = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html|head|body|pre)\b", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_END = re.compile(rb"(?:^|\r?\n)END[ \t]*\r?(?:\n|$)")
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?\s*")


class Wrong(Exception):
    """It is no such document; the text says why."""


def _header(body: bytes, wanted: Collection[str]) -> Callable[[str], object]:
    return cards.parse_cards(_picked(_lines(body), wanted), wanted).values.get


def _picked(lines: list[str], wanted: Collection[str]) -> list[str]:
    """Find the cards of some keywords, with those that continue them."""
    found: list[str] = []
    goes_on = False
    for line in lines:
        key = " ".join(line.partition("=")[0].removeprefix("HIERARCH").split())
        goes_on = key in wanted or (goes_on and line.startswith("CONTINUE"))
        if goes_on and (card := _card(line)) is not None:
            found.append(card)
    return found


def _lines(body: bytes) -> list[str]:
    """Cut a header into lines.

    Raises
    ------
    Wrong
        It is none, or has no end.
    """
    if body.startswith(b"SIMPLE  =") and not re.search(rb"[\r\n]", body[:81]):
        text = body.decode("latin-1")
        found = [text[at : at + 80] for at in range(0, len(text), 80)]
        end = next((at for at, card in enumerate(found) if card.rstrip() == "END"), None)
        if end is None:
            raise Wrong("it ends within the header")
        return found[:end]
    text = body.decode("utf-8", "replace")
    page = _PAGE.match(body) is not None
    if page:
        text = html.unescape(_TAG.sub("", _preformatted(text)))
    found = text.splitlines()
    if not any(_card(line) for line in found):
        raise Wrong("it is a page without a header" if page else "it is no header")
    if not page and _END.search(body) is None:
        raise Wrong("it ends within the header")
    return found


def _preformatted(text: str) -> str:
    """Return what stands in the `<pre>` of a page, all of them."""
    found, lower, at = [], text.lower(), 0
    while (begin := lower.find("<pre", at)) >= 0:
        begin = lower.find(">", begin) + 1
        at = lower.find("</pre", begin)
        if not begin or at < 0:
            raise Wrong("it ends within the header")
        found.append(text[begin:at])
    return "\n".join(found)


def _card(line: str) -> str | None:
    """Write a line as a card has it: keywords in their eight columns, longer ones behind HIERARCH."""
    line = line.rstrip()
    if line[8:10] == "= " or line.startswith(("CONTINUE", "COMMENT ", "HISTORY ")):
        return line
    found = _CARD.match(line.lstrip())
    if found is None:
        return None
    key, rest = " ".join(found[1].split()), found[2]
    return f"{key:8}= {rest}" if len(key) <= 8 and " " not in key else f"HIERARCH {key} = {rest}"


def _json(body: bytes, wanted: Collection[str]) -> Callable[[str], object]:  # noqa: ARG001  (all of it is parsed)
    try:
        record = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Wrong("it is a page, and no JSON" if _PAGE.match(body) else f"it is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise Wrong("it is no object of JSON")

    def says(key: str) -> object:
        if key in record:
            return record[key]
        found: object = record
        for step in key.split("."):
            if isinstance(found, dict):
                found = found.get(step)
            elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            else:
                return None
        return found

    return says


def _label(body: bytes, wanted: Collection[str]) -> Callable[[str], object]:  # noqa: ARG001  (all of it is parsed)
    if _PAGE.match(body):
        raise Wrong("it is a page, and no label")
    try:
        return {one.keyword: one.value for one in read_label(body)}.get
    except SourceError as error:
        raise Wrong(error.message) from None


def _xml(body: bytes, wanted: Collection[str]) -> Callable[[str], object]:  # noqa: ARG001  (all of it is parsed)
    from lxml import etree  # noqa: PLC0415  (only for those who have such documents)

    try:
        root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False))
    except etree.XMLSyntaxError as error:
        raise Wrong("it is a page, and no XML" if _PAGE.match(body) else f"it is no XML: {error}") from None

    if etree.QName(root).localname == "VOTABLE":
        _check_status(root)

    def says(key: str) -> object:
        path, at, attribute = key.partition("@")
        steps = [f"{{*}}{step}" for step in path.strip("/").split("/") if step]
        found = root.find("/".join(steps)) if steps else root
        if found is None:
            return None
        return found.get(attribute) if at else (found.text or "").strip() or None

    return says


def _check_status(root: Any) -> None:
    """Refuse a VOTable that its service cut off, or that says an error (DALI 1.1, section 4.4.1)."""
    for info in root.iterfind(".//{*}INFO"):
        if (info.get("name") or "").upper() != "QUERY_STATUS":
            continue
        status = (info.get("value") or "").upper()
        if status == "OVERFLOW":
            raise Wrong("it is a VOTable that was cut off (QUERY_STATUS=OVERFLOW)")
        if status == "ERROR":
            raise Wrong(f"it is a VOTable with an error: {' '.join((info.text or '').split())[:200]}")


FORMS: dict[str, Callable[[bytes, Collection[str]], Callable[[str], object]]] = {
    "header": _header,
    "json": _json,
    "label": _label,
    "xml": _xml,
}


def take(body: bytes, form: str, columns: Sequence[tuple[Sequence[str], str, bool]]) -> tuple[list[Any], str]:
    """Take the values of columns from a document.

    Parameters
    ----------
    columns
        Of each: its keys, what its values are (``int``, ``float``, ``bool``, ``text``), and whether it is an array of them.

    Returns
    -------
    values, doubt
        One for each column, as JSON has them; and what could not be read, in words.

    Raises
    ------
    Wrong
        It is no document of this form.
    """
    keys = {key for some, _, _ in columns for key in some}
    says = FORMS[form](body, keys)
    doubts: list[str] = []
    values = []
    for some, kind, array in columns:
        found = [
            body.decode("utf-8", "replace") if key == WHOLE else _value(says(key), kind, key, doubts) for key in some
        ]
        values.append(found if array else found[0])
    return values, "; ".join(doubts)


def _value(found: object, kind: str, key: str, doubts: list[str]) -> object:
    """Convert what is said to what was wanted; what cannot be is none, and told."""
    if found is None or found == "":
        return None
    if kind == "text":
        if isinstance(found, (dict, list)):
            return json.dumps(found, ensure_ascii=False)
        return cards.written(found) if isinstance(found, (bool, str, int, float)) else str(found)
    if isinstance(found, str) and kind != "bool" and _NUMBER.fullmatch(found):
        found = (
            float(found.upper().replace("D", "E"))
            if kind == "float" or not found.strip(" +-").isdigit()
            else int(found)
        )
    if kind == "bool" and (isinstance(found, bool) or found in {"T", "F", "true", "false"}):
        return found in {True, "T", "true"}
    if isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found):
        if kind == "float":
            return float(found)
        if kind == "int" and float(found).is_integer() and abs(found) < 2**63:
            return int(found)
    doubts.append(f"{key} is {str(found)[:40]!r}, no {'number' if kind != 'bool' else 'truth value'}")
    return None
