"""What the validators of registries would say of the records of a site: the codes of the registry of registries, and VOResource's and VODataService's rules, each with the line that mends it."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lxml import etree

from hven.adql.vocabularies import vocabularies
from hven.model.errors import Fault, Place, nearest
from hven.model.settings import FILE
from hven.services import _registry as registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.model.resource import Registered, Resource
    from hven.model.settings import Settings
    from hven.services.face import Surroundings

TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
IVOID = re.compile(r"ivo://[A-Za-z0-9][A-Za-z0-9.\-_!~*'()+=]{2,}(/[A-Za-z0-9.\-_!~*'()+=]+)*")
NOBODY = "example.org"  # the authority of a site that says none
HERE = re.compile(r"https?://(localhost|127\.|10\.|192\.168\.|0\.0\.0\.0|\[::1?\])", re.IGNORECASE)
STANDARDS = "ivo://ivoa.net/std/"
SEARCHES = {f"{STANDARDS}conesearch": "CS4.0", f"{STANDARDS}sia": "SIA7.0"}  # capability -> codes of what it must have
TESTS = {  # type of capability -> a test as descriptors write it, for the face
    "cs:ConeSearch": "RA=83.6&DEC=22&SR=0.1",
    "sia:SimpleImageAccess": "POS=83.6,22&SIZE=0.1",
    "ssap:SimpleSpectralAccess": "REQUEST=queryData&POS=83.6,22&SIZE=0.1",
}
# key of hven.toml -> what is to be written there, and what it is for; of all records
NEEDED = {
    "authority": ("your-institute.example", "first part of all identifiers, for ever: a name of your own that no registry has"),
    "public_url": ("https://vo.your-institute.example", "the address in all records, and of the registry itself"),
    "contact_email": ("vo@your-institute.example", "whom harvesters and readers write to; without it there is no registry"),
    "registry.organisation": ("Your institute", "who publishes"),
}  # fmt: skip
# key of descriptors -> what is to be written there, and what its lack means
WORDS = {
    "description": ("description: What was measured, by whom, and what for", "nobody learns what it is"),
    "subjects": ("subjects: [solar-physics]", "it stands among virtual observatories, not under its subject"),
    "creators": ('creators: [{name: "Brahe, T.", orcid: 0000-0002-1825-0097}]', "nobody is named who made it"),
    "licence": ("licence: CC-BY-4.0", "nobody knows what may be done with it"),
}
PROSE = {"VOResource", "VODataService"}
VOCABULARIES = {"waveband": "messenger", "content_level": "voresource/content_level", "type": "voresource/content_type"}


def lacking(settings: Settings) -> dict[str, str]:
    """List what hven.toml must say before registries are told of a site.

    Parameters
    ----------
    settings
        Of the site.

    Returns
    -------
    keys
        Key -> the line to write; keys of a section have its name before them.
    """
    here = not settings.public_url or HERE.match(settings.public_url)
    wrong = {
        "authority": settings.authority.lower() == NOBODY,
        "public_url": bool(here),
        "contact_email": not registry.MAIL.fullmatch(settings.contact_email or ""),
        "registry.organisation": not settings.registry.organisation,
    }
    return {key: line(key, NEEDED[key][0]) for key, is_wrong in wrong.items() if is_wrong}


def line(key: str, value: str) -> str:
    """Return a line of hven.toml.

    Parameters
    ----------
    key
        With the name of its section before it, if it has one.
    value
        What it shall say.
    """
    return f"{key.rpartition('.')[2]} = {json.dumps(value, ensure_ascii=False)}"


def drafts(around: Surroundings) -> Mapping[str, Sequence[Registered]]:
    """Make all records as they would be told now, by collection; empty: the site's own. Nothing is told by it.

    Parameters
    ----------
    around
        The site, and its faces.

    Returns
    -------
    records
        Those that were told have the dates that they were told with.
    """
    return registry.drafts(around)


def written(one: Registered) -> str:
    """Return a record as registries get it, for people: each element on a line.

    Parameters
    ----------
    one
        The record.
    """
    root = etree.fromstring(registry.document(one))
    etree.indent(root)
    return etree.tostring(root, encoding="unicode")


def judge(around: Surroundings, records: Mapping[str, Sequence[Registered]]) -> list[Fault]:
    """Judge records as validators do; errors are what these refuse.

    Parameters
    ----------
    around
        The site.
    records
        All that it would tell, as `drafts` makes them.

    Returns
    -------
    faults
        Each with its code, at the line of the descriptor, or of hven.toml, that is to be mended.
    """
    return list(_Judge(around, records).faults())


class _Judge:
    def __init__(self, around: Surroundings, records: Mapping[str, Sequence[Registered]]) -> None:
        self._settings, self._records = around.site.settings, records
        self._resources = around.site.current().resources
        self._now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        self._texts: dict[Path, list[str]] = {}

    def faults(self) -> Iterator[Fault]:
        """Judge the site, its list, each collection, each record."""
        for key, added in lacking(self._settings).items():
            code, severity = {
                "authority": ("RI3.1.4b", "error"), "public_url": ("RI3.1.5a", "error"), "contact_email": ("RI3.1.1", "error"),
            }.get(key, ("VOResource", "warning"))  # fmt: skip
            message = f"{code}: {FILE} has no {key} that others can use: {NEEDED[key][1]}"
            yield Fault(message=message, place=self._place("", key), remedy=_added("", key, added), severity=severity)
        roots = {
            part: [etree.fromstring(registry.document(one)) for one in found] for part, found in self._records.items()
        }
        yield from self._list([root for found in roots.values() for root in found])
        for part, found in roots.items():
            about = self._resources.get(part)
            if about is not None:
                yield from self._words(part, about)
            whose: dict[Said, list[str]] = {}  # what several records of a collection have in common is said once
            for root in found:
                for said in (*_judged(root, self._now), *(_tables(root) if about is not None else ())):
                    whose.setdefault(said, []).append(_text(root, "identifier"))
            for (code, message, key, remedy, severity), (first, *others) in whose.items():
                if about is None and code in PROSE:
                    continue  # what hven.toml lacks is said already; without a descriptor nobody can say more
                where = f"{first} and {len(others)} more" if others else first
                yield Fault(message=f"{code}: {where}: {message}", place=self._place(part, key), remedy=remedy, severity=severity)  # fmt: skip

    def _list(self, roots: Sequence[etree._Element]) -> Iterator[Fault]:
        """Judge what all records are together: one registry, with an authority for each identifier."""
        kinds: dict[str, set[str]] = {}
        ids = Counter(_text(root, "identifier").lower() for root in roots)
        for root in roots:
            kinds.setdefault(str(root.get(TYPE)), set()).add(_text(root, "identifier").lower())
        managed = {str(one.text).lower() for root in roots for one in root.iterfind("managedAuthority")}
        where = self._place("", "authority")
        if len(kinds.get("vg:Registry", ())) != 1:
            yield Fault(message="RI3.1.4a: the registry's own record is not among the records", place=where, remedy="do two keys of registry.ids say the same?")  # fmt: skip
        for name in sorted(managed - {one.removeprefix("ivo://") for one in kinds.get("vg:Authority", ())}):
            yield Fault(message=f"RI3.1.4c: there is no record of the authority {name}", place=where, remedy=f"do registry.ids say ivo://{name}?")  # fmt: skip
        for name in sorted({one[6:].partition("/")[0] for one in ids} - managed):
            yield Fault(message=f"RI3.1.4b: {name} is no authority of this registry, and records have it", place=self._place("", "registry.authorities"), remedy=f'under [registry]: authorities = ["{name}"]')  # fmt: skip
        for part, found in self._records.items():
            for one in found:
                if ids[one.ivoid.lower()] > 1:
                    yield Fault(message=f"RI3.1.3: {one.ivoid} is the id of {ids[one.ivoid.lower()]} records: only the first one is told", place=self._place(part, "registry" if part else "registry.ids"), remedy=_added(part, "registry", "registry: {id: ..}" if part else "ids = {..}"))  # fmt: skip

    def _words(self, part: str, about: Resource) -> Iterator[Fault]:
        """Judge what a descriptor says of its collection."""
        for key, (added, why) in WORDS.items():
            if not getattr(about, key):
                yield Fault(message=f"VOResource: {part} has no {key}: {why}", place=self._place(part, key), remedy=f"add: {added}", severity="warning")  # fmt: skip
        for key, vocabulary in VOCABULARIES.items():
            terms = vocabularies()[vocabulary]
            for word in getattr(about, key):
                if word not in terms:
                    remedy = nearest(word, terms) or f"known: {', '.join(terms)}"
                    code = "VODataService" if key == "waveband" else "VOResource"
                    yield Fault(message=f"{code}: {word!r} is no term of the vocabulary {vocabulary}", place=self._place(part, key), remedy=remedy, severity="warning")  # fmt: skip

    def _place(self, part: str, key: str) -> Place:
        """Find the line of a key in a descriptor, or in hven.toml; where it is not there, that of its section, else the first one."""
        about = self._resources.get(part) if part else None
        path = about.path if about is not None else self._settings.directory / FILE
        if path not in self._texts:
            self._texts[path] = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        section, _, name = key.rpartition(".") if about is None else ("", "", key)
        number = _line(self._texts[path], name, section)
        return Place(file=str(path), line=number)


def _line(lines: Sequence[str], name: str, section: str) -> int:
    """Return where a key stands, in the one or the other language: in them keys of the whole stand at the margin."""
    inside, at = "", 1
    for number, text in enumerate(lines, start=1):
        if head := re.match(r"\[+\s*([\w.]+)\s*\]+", text):
            inside = head[1]
            at = number if inside == section else at
        elif inside == section and re.match(rf"['\"]?{re.escape(name)}['\"]?\s*[:=]", text):
            return number
    return at


def _added(part: str, key: str, text: str) -> str:
    if part:
        return f"add: {text}"
    return f"add under [{key.partition('.')[0]}]: {text}" if "." in key else f"write before the first section: {text}"


Said = tuple[str, str, str, str, str]  # code, message, key to mend, remedy, severity


def _judged(root: etree._Element, now: str) -> Iterator[Said]:
    """Judge one record."""
    if not IVOID.fullmatch(_text(root, "identifier")):
        yield "VOResource", "this is no identifier: letters, digits and . - _ ! ~ * ' ( ) + = stand there", "registry", "registry: {id: ..}", "error"  # fmt: skip
    if not _text(root, "title"):
        yield "VOResource", "it has no title", "title", "add: title: ..", "error"
    if not root.xpath("curation/contact[normalize-space(email)]"):
        yield "VOResource", "nobody can write to its contact", "contact", "add: contact: {name: .., email: ..}", "warning"  # fmt: skip
    dates = {"created": root.get("created"), "updated": root.get("updated")}
    dates |= {f"its date {each.get('role')}": each.text for each in root.iterfind("curation/date")}
    for what, text in dates.items():
        if not _moment(text or ""):
            yield "VRdate", f"{what} is no date: {text}", "created", "write created: 2026-11-20", "error"
        elif text and text[:19] > now[: len(text[:19])]:
            yield "VRdate", f"{what} is {text}, which has not been yet", "created", "write the day when it was first published", "error"  # fmt: skip
    known = {term.lower() for term in vocabularies()["voresource/relationship_type"]}
    for kind in (str(each.text) for each in root.iterfind("content/relationship/relationshipType")):
        if kind.lower() not in known:
            yield "VR3.1.3a", f"{kind!r} is no relation of the vocabulary", "registry", f"known: {', '.join(vocabularies()['voresource/relationship_type'])}", "error"  # fmt: skip
    yield from _services(root)


def _services(root: etree._Element) -> Iterator[Said]:
    """Judge what a record says that is asked, and how."""
    sort = root.get(TYPE)
    capabilities = root.findall("capability")
    service = sort in {"vs:CatalogService", "vs:DataService", "vg:Registry"}
    if service and not capabilities:
        yield "VR3.2.2a", "it is a service without a capability", "services", "is its face a plug-in? it has none to tell", "warning"  # fmt: skip
    for each in capabilities:
        standard = (each.get("standardID") or "").lower()
        if not each.findall("interface/accessURL"):
            yield "VR3.2.2a", f"the capability {standard or 'of its pages'} has no interface", "services", "the face does not say its address", "warning"  # fmt: skip
        if code := SEARCHES.get(standard):
            if sort != "vs:CatalogService":
                yield f"{code}a", "a search is a vs:CatalogService", "services", "the face says no search", "warning"
            if not any(way.get(TYPE) == "vs:ParamHTTP" and way.get("role") == "std" for way in each.iterfind("interface")):  # fmt: skip
                yield f"{code}b", 'it has no interface vs:ParamHTTP with role="std"', "services", "the face says no search", "error"  # fmt: skip
        if each.get(TYPE) in TESTS and each.find("testQuery") is None:
            test = f'registry: {{services: {{TABLE.FACE: {{test: "{TESTS[str(each.get(TYPE))]}"}}}}}}'
            if not each.findtext("interface/testQueryString"):
                yield "VODataService", "it has no test query: nobody can try whether it is well", "registry", f"add: {test}", "warning"  # fmt: skip
    if sort == "vg:Registry":
        ways = root.xpath("capability[@xsi:type='vg:Harvest']/interface[@xsi:type='vg:OAIHTTP'][@role='std'][@version='1.0']", namespaces={"xsi": TYPE[1:].partition("}")[0]})  # fmt: skip
        if not ways:
            yield "RI4.0a", 'it has no vg:Harvest with vg:OAIHTTP, role="std", version 1.0', "authority", "", "error"
    epn = [table for table in root.iterfind("tableset/schema/table") if _text(table, "utype").lower().startswith(registry.EPN)]  # fmt: skip
    if sort == "vs:CatalogResource" and epn and not any((each.get("standardID") or "").lower().startswith(registry.TAP.lower()) for each in capabilities):  # fmt: skip
        yield "EPN-TAP", "the table has no TAP#aux: VESPA's clients find it by nothing else", "services", "add tap to its services", "error"  # fmt: skip


def _tables(root: etree._Element) -> Iterator[Said]:
    """Judge what a record says that is there: coverage, tables, columns."""
    for what, low in (("temporal", -1e7), ("spectral", 0.0)):
        for text in (str(each.text) for each in root.iterfind(f"coverage/{what}")):
            begin, end = (float(word) for word in text.split())
            if not low < begin <= end < (1e7 if what == "temporal" else 1.0):
                unit = "days (MJD)" if what == "temporal" else "joules"
                yield "VODataService", f"it covers {text} {unit}: that cannot be", "tables", "is the unit of the column right? do fill values stand for nothing?", "warning"  # fmt: skip
    for table in root.iterfind("tableset/schema/table"):
        name = _text(table, "name")
        if not _text(table, "description"):
            yield "VODataService", f"the table {name} has no description", "tables", f"under {name.rpartition('.')[2]}: description: ..", "warning"  # fmt: skip
        bare = [
            _text(column, "name").strip('"') for column in table.iterfind("column") if not _text(column, "description")
        ]
        if bare:
            yield "VODataService", f"columns of {name} without a description ({len(bare)}): {', '.join(bare[:5])}{', ..' * (len(bare) > 5)}", "tables", f"under columns: {bare[0]}: {{description: ..}}", "warning"  # fmt: skip


def _moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _text(root: etree._Element, name: str) -> str:
    return (root.findtext(name) or "").strip()


__all__ = ["NEEDED", "drafts", "judge", "lacking", "line", "written"]
