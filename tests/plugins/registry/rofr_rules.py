"""The rules of the validator of the registry of registries: four requests, and checks of their answers by code.

They follow Registry Interfaces 1.1, OAI-PMH 2.0 and the list of codes of the validator, and share no code with `hven
register --check`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from lxml import etree

O = "{http://www.openarchives.org/OAI/2.0/}"  # noqa: E741  (its usual prefix)
RI = "{http://www.ivoa.net/xml/RegistryInterface/v1.0}"
DC = "{http://www.openarchives.org/OAI/2.0/oai_dc/}"
XSI = "{http://www.w3.org/2001/XMLSchema-instance}type"
OLD_RELATIONS = {"service-for", "mirror-of", "served-by", "derived-from", "related-to"}  # of the older sheet
QueryFunction = Callable[[str], bytes]  # a query -> the answer


def harvest_records(ask: QueryFunction, prefix: str) -> Iterator[etree._Element]:
    """Yield all records of a list, page by page."""
    query, seen = f"verb=ListRecords&metadataPrefix={prefix}&set=ivo_managed", set()
    while query:
        root = etree.fromstring(ask(query))
        yield from root.iter(f"{O}record")
        token = root.findtext(f"{O}ListRecords/{O}resumptionToken")
        assert token not in seen, "the list goes round"
        seen.add(token)
        query = f"verb=ListRecords&resumptionToken={token}" if token else ""


def check_registry(ask: QueryFunction, address: str, relations: set[str]) -> dict[str, list[str]]:
    """Check a registry; return for each rule the violations.

    `relations` are the types of relations of VOResource's vocabulary.
    """
    told: dict[str, list[str]] = {}

    def rule(code: str, holds: object, what: str = "") -> None:
        told.setdefault(code, []).extend([] if holds else [what or code])

    identify = etree.fromstring(ask("verb=Identify"))
    about = identify.find(f"{O}Identify")
    formats = etree.fromstring(ask("verb=ListMetadataFormats"))
    sets = etree.fromstring(ask("verb=ListSets"))
    for root in (identify, formats, sets):
        rule("RI3.1.1", root.find(f"{O}error") is None, etree.tostring(root)[:200].decode())
    names = {one.text for one in formats.iter(f"{O}metadataPrefix")}
    rule("RI3.1.2a", names)
    rule("RI3.1.2b", "ivo_vor" in names)
    rule("RI3.1.2c", "oai_dc" in names)
    specs = {str(one.text) for one in sets.iter(f"{O}setSpec")}
    rule("RI3.1.6a", "ivo_managed" in specs)
    rule("RI3.1.6b", {one for one in specs if one.startswith("ivo_")} == {"ivo_managed"})
    assert about is not None
    rule("RI3.1.5a", about.findtext(f"{O}baseURL") == address, str(about.findtext(f"{O}baseURL")))
    own = about.findall(f"{O}description/{RI}Resource")
    rule("RI3.1.5b1", len(about.findall(f"{O}description")) >= 1)
    rule("RI3.1.5b2", len(own) == 1)
    rule("RI3.1.5b3", own and own[0].get(XSI) == "vg:Registry")
    rule("OAI.Identify", about.findtext(f"{O}protocolVersion") == "2.0" and about.findtext(f"{O}adminEmail") and about.findtext(f"{O}deletedRecord") in {"transient", "persistent"})  # fmt: skip
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    records = []
    for one in harvest_records(ask, "ivo_vor"):
        head, found = one.find(f"{O}header"), one.find(f"{O}metadata/{RI}Resource")
        assert head is not None
        rule("OAI2.5.1", (head.get("status") == "deleted") == (one.find(f"{O}metadata") is None))
        if found is not None:
            records.append(found)
            rule(
                "RI3.1.3",
                (head.findtext(f"{O}identifier") or "").lower() == (found.findtext("identifier") or "").lower(),
            )
    plain = [
        one.findtext(f"{O}header/{O}identifier")
        for one in harvest_records(ask, "oai_dc")
        if one.find(f"{O}metadata/{DC}dc") is not None
    ]
    rule(
        "RI3.1.2c",
        sorted(map(str, plain)) == sorted(str(one.findtext("identifier")) for one in records),
        "the formats have other records",
    )
    ids = [str(one.findtext("identifier")).lower() for one in records]
    rule("RI3.1.4a", own and str(own[0].findtext("identifier")).lower() in ids)
    managed = [str(one.text).lower() for one in own[0].iterfind("managedAuthority")] if own else []
    for ident in ids:
        rule("RI3.1.4b", re.match(r"ivo://([^/]+)", ident)[1] in managed, ident)  # type: ignore[index]
    for name in managed:
        mine = [
            one
            for one in records
            if one.get(XSI) == "vg:Authority" and str(one.findtext("identifier")).lower() == f"ivo://{name}"
        ]
        rule("RI3.1.4c", len(mine) == 1 and mine[0].find("managingOrg") is not None, name)
    rule("RI3.1.3", len(set(ids)) == len(ids), "an identifier stands twice")
    for one in records:
        for code, holds in _check_record(one, now, relations):
            rule(code, holds, f"{one.findtext('identifier')}: {code}")
    return told


def _check_record(one: etree._Element, now: str, relations: set[str]) -> Iterator[tuple[str, object]]:
    kind, capabilities = str(one.get(XSI)), one.findall("capability")
    yield "VR3.1b1", one.get("status") == "active"
    for code, key in (("VR3.1b2", "updated"), ("VR3.1b3", "created")):
        yield code, re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one.get(key) or "")
        yield "VRdate", (one.get(key) or "9") <= now
    for date in one.iterfind("curation/date"):
        yield "VRdate", (date.text or "9")[:10] <= now[:10]
    for relation in one.iterfind("content/relationship/relationshipType"):
        yield "VR3.1.3a", (relation.text or "") in relations | OLD_RELATIONS
    if kind in {"vs:CatalogService", "vs:DataService", "vg:Registry"}:
        yield "VR3.2.2a", capabilities
    for each in capabilities:
        yield "VR3.2.2a", each.findall("interface/accessURL")
        standard = (each.get("standardID") or "").lower()
        for code, name in (("SIA7.0", "ivo://ivoa.net/std/sia"), ("CS4.0", "ivo://ivoa.net/std/conesearch")):
            if standard == name:
                yield f"{code}a", kind == "vs:CatalogService"
                yield (
                    f"{code}b",
                    any(
                        way.get(XSI) == "vs:ParamHTTP" and way.get("role") == "std"
                        for way in each.iterfind("interface")
                    ),
                )
        if each.get(XSI) == "vg:Harvest":
            yield "RI4.0b", kind == "vg:Registry"
            ways = [
                way for way in each.iterfind("interface") if way.get(XSI) == "vg:OAIHTTP" and way.get("role") == "std"
            ]
            yield "RI4.0c", ways
            yield "RI4.3.2b", all(way.get("version") == "1.0" for way in ways)
    if kind == "vg:Registry":
        yield "RI4.0a", any(each.get(XSI) in {"vg:Harvest", "vg:Search"} for each in capabilities)
