"""Who cites collections: exports of bibliographies (BibTeX, ADS, Crossref, DataCite) read from files, and counted by DOI and bibcode; nothing is asked elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from hven.model.resource import Resource

LARGEST = 256 << 20  # bytes of a file
DOI = re.compile(r"10\.\d{4,9}/[^\s\"<>{}|\\^\[\]`,;]+", re.IGNORECASE)
BIBCODE = re.compile(r"\b[12]\d{3}[A-Za-z&.]{5}[A-Za-z0-9.]{9}[A-Z.:]")
FORWARD = {"cites", "references", "is-supplement-to", "is-derived-from", "uses", "documents", "reviews", "discusses"}
BACKWARD = {"is-cited-by", "is-referenced-by", "is-supplemented-by", "is-source-of", "is-documented-by"}
_ENTRY = re.compile(r"@\s*([A-Za-z]+)\s*([{(])", re.ASCII)
_FIELD = re.compile(r"\s*([A-Za-z][\w:+.-]*)\s*=\s*")
_BRACKET = re.compile(r"\\.|[{}()]", re.DOTALL)
KNOWN = "BibTeX; JSON of ADS (response.docs), Crossref (message.items, message.events), DataCite (data: events, or DOIs with their citations)"


@dataclass(frozen=True, slots=True)
class Work:
    """A work that cites something.

    Attributes
    ----------
    id
        DOI in lower case, else bibcode or key.
    title, year
        As the file has them, or empty.
    cites
        DOIs in lower case and bibcodes that it names.
    """

    id: str
    title: str = ""
    year: str = ""
    cites: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says.

    Attributes
    ----------
    works
        That cite something.
    left
        Why parts of the file say nothing.
    """

    works: tuple[Work, ...]
    left: tuple[str, ...] = ()


def read(path: Path) -> Reading:
    """Read an export.

    Parameters
    ----------
    path
        Of the file.

    Returns
    -------
    reading
        In the order of the file.

    Raises
    ------
    SourceError
        It cannot be read, or is no such export; with the place.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise SourceError(f"{path} is larger than {LARGEST >> 20} MiB", remedy="export fewer works at once")
        raw = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", remedy="check its name and rights") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{path}:{line}: this is not UTF-8", remedy="export it again as UTF-8") from error
    if text.lstrip()[:1] in {"{", "["}:
        return _json(path, text)
    if _ENTRY.search(text):
        return _bibtex(path, text)
    what = "is empty" if not text.strip() else "is no export of citations"
    raise SourceError(f"{path} {what}", remedy=f"known: {KNOWN}")


def counted(
    readings: Iterable[Reading], resources: Mapping[str, Resource], of: str | None = None
) -> dict[str, dict[str, Work]]:
    """Tell which works cite which collections.

    Parameters
    ----------
    readings
        Of all files.
    resources
        The collections, by name.
    of
        The collection that all works of the files cite, where they do not say what they cite.

    Returns
    -------
    citing
        Collection -> id of a work -> the work, once whatever files name it. Those without DOI and bibcode are not in it.
    """
    found: dict[str, dict[str, Work]] = {
        name: {} for name in resources if of in {None, name} and (of or _names(resources[name]))
    }
    for reading in readings:
        for work in reading.works:
            for name, known in found.items():
                own = _names(resources[name])
                if work.id not in own and (of is not None or own & work.cites):
                    known.setdefault(work.id, work)
    return found


def _names(resource: Resource) -> frozenset[str]:
    """Return the names by which a collection is cited; a DOI with all that begins with it and a dot or slash is one of its parts."""
    return frozenset(one for one in (_doi(resource.doi or ""), resource.bibcode) if one)


def _doi(text: str) -> str:
    found = DOI.search(text)
    return found[0].rstrip(".)'").lower() if found else ""


def _mentioned(text: str) -> frozenset[str]:
    dois = {one.rstrip(".)'").lower() for one in DOI.findall(text)}
    return frozenset(dois | set(BIBCODE.findall(text)))


def _bibtex(path: Path, text: str) -> Reading:
    works, bare = [], 0
    at = 0
    while (begin := _ENTRY.search(text, at)) is not None:
        kind = begin[1].lower()
        body, at = _braced(path, text, begin.end() - 1)
        if kind in {"comment", "preamble", "string"}:
            continue
        key, _, rest = body.partition(",")
        fields = _fields(rest)
        own = _doi(fields.get("doi", ""))
        urls = fields.get("adsurl", "")
        bibcode = next(iter(BIBCODE.findall(urls.replace("%26", "&"))), "") or next(iter(BIBCODE.findall(key)), "")
        title = re.sub(r"[{}\\]", "", fields.get("title", ""))
        others = " ".join(value for name, value in fields.items() if name not in {"doi", "adsurl", "eprint"})
        cites = _mentioned(others.replace("\\_", "_").replace("\\&", "&")) - {own, bibcode}
        bare += not cites
        works.append(Work(own or bibcode or key.strip(), title, fields.get("year", "").strip(), cites))
    if not works:
        raise SourceError(f"{path} has no entries", remedy=f"known: {KNOWN}")
    left = (f"{bare} of {len(works)} entries do not say what they cite; --of COLLECTION counts all as citing that one",) if bare else ()  # fmt: skip
    return Reading(tuple(works), left)


def _braced(path: Path, text: str, at: int) -> tuple[str, int]:
    """Return what stands between a bracket and its other one, and where it ends."""
    opens, closes = text[at], "}" if text[at] == "{" else ")"
    depth = 0
    for found in _BRACKET.finditer(text, at):
        sign = found[0]
        if sign in {"{", "}"}:
            depth += 1 if sign == "{" else -1
        if (sign == closes == "}" and depth == 0) or (sign == closes == ")" and depth == 0 and opens == "("):
            return text[at + 1 : found.start()], found.end()
    line = text.count("\n", 0, at) + 1
    raise SourceError(f"{path}:{line}: the entry that begins here does not end", remedy="export the file again: it was cut off")  # fmt: skip


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while (one := _FIELD.search(text, at)) is not None:
        at = one.end()
        sign = text[at : at + 1]
        if sign == "{":
            depth, end = 0, at
            for brace in re.finditer(r"\\.|[{}]", text[at:], re.DOTALL):
                depth += {"{": 1, "}": -1}.get(brace[0], 0)
                if depth == 0:
                    end = at + brace.end()
                    break
            value, at = text[at + 1 : end - 1], max(end, at + 1)
        elif sign == '"':
            end = text.find('"', at + 1)
            end = len(text) if end < 0 else end
            value, at = text[at + 1 : end], end + 1
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            value, at = text[at:end], end
        found[one[1].lower()] = value
    return found


def _json(path: Path, text: str) -> Reading:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{path}:{error.lineno}:{error.colno}: this is no JSON: {error.msg}", remedy="export the file again: it may have been cut off") from error  # fmt: skip
    works: list[Work] = []
    left: dict[str, int] = {}
    try:
        shapes = list(_works(found, left))
    except (TypeError, AttributeError, KeyError) as error:
        raise SourceError(f"{path} is JSON of another form than it seems to be: {error}", remedy=f"known: {KNOWN}") from error  # fmt: skip
    if not shapes and not left:
        raise SourceError(f"{path} is JSON, but no export of citations", remedy=f"known: {KNOWN}")
    works += shapes
    return Reading(tuple(works), tuple(f"{count} {what}" for what, count in left.items()))


def _works(found: Any, left: dict[str, int]) -> Iterator[Work]:
    """Yield the works of JSON in one of the known forms."""
    if isinstance(found, list):
        for one in found:
            yield from _works(one, left)
        return
    message = found.get("message", {})
    if "docs" in found.get("response", {}):
        for doc in found["response"]["docs"]:
            cites = frozenset(doc.get("reference", ())) | _mentioned(" ".join(map(str, doc.get("data", ()))))
            if not cites:
                left["works without a list of references (ask ADS for the field reference)"] = left.get("works without a list of references (ask ADS for the field reference)", 0) + 1  # fmt: skip
            dois = doc.get("doi") or [""]
            yield Work(_doi(dois[0]) or doc["bibcode"], " ".join(doc.get("title", ())), str(doc.get("year", "")), cites)
    elif isinstance(message, dict) and "items" in message:
        for item in message["items"]:
            cites = frozenset(filter(None, (_doi(one.get("DOI", "")) or _doi(one.get("unstructured", "")) for one in item.get("reference", ()))))  # fmt: skip
            parts = (item.get("issued") or {}).get("date-parts") or [[""]]
            yield Work(_doi(item["DOI"]), " ".join(item.get("title", ())), str(parts[0][0]), cites)
    elif isinstance(message, dict) and "events" in message:
        yield from _events(message["events"], left)
    elif isinstance(found.get("data"), list | dict):
        data = found["data"] if isinstance(found["data"], list) else [found["data"]]
        yield from _events([one["attributes"] for one in data if one.get("type") == "events"], left)
        for one in data:
            if one.get("type") == "dois":
                own = _doi(one["id"])
                for citing in (one.get("relationships") or {}).get("citations", {}).get("data", ()):
                    yield Work(_doi(citing["id"]) or citing["id"], cites=frozenset({own}))
                left.setdefault("DOIs of which the file lists no citations", 0)


def _events(events: Iterable[Mapping[str, Any]], left: dict[str, int]) -> Iterator[Work]:
    for one in events:
        said = {key.replace("_", "-"): value for key, value in one.items()}
        relation = str(said["relation-type-id"]).replace("_", "-").lower()
        citing, cited = _doi(said["subj-id"]), _doi(said["obj-id"])
        if relation in BACKWARD:
            citing, cited = cited, citing
        if relation not in FORWARD | BACKWARD or not citing or not cited:
            what = (
                f"events {relation!r} are no citations" if citing and cited else f"events {relation!r} without two DOIs"
            )
            left[what] = left.get(what, 0) + 1
            continue
        yield Work(citing, year=str(said.get("occurred-at", ""))[:4], cites=frozenset({cited}))
