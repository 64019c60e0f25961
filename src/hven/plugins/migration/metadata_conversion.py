"""Turn the ``meta`` elements of a resource descriptor into keys of a collection."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.plugins.migration.migration_report import MigrationReport
    from hven.plugins.migration.python_macros import MacroValues
    from hven.plugins.migration.resource_xml import Element

MAX_SHORT_NAME_CHARACTERS = 16
MAX_LONG_TEXT_CHARACTERS = 6000
BIBCODE_PATTERN = re.compile(r"\d{4}[A-Za-z0-9.&]{14}[A-Za-z]")
LICENCES = {
    "creativecommons.org/publicdomain/zero/1.0": "CC0-1.0",
    "creativecommons.org/licenses/by/4.0": "CC-BY-4.0",
    "creativecommons.org/licenses/by-sa/4.0": "CC-BY-SA-4.0",
    "creativecommons.org/licenses/by-nd/4.0": "CC-BY-ND-4.0",
    "creativecommons.org/licenses/by-nc/4.0": "CC-BY-NC-4.0",
    "creativecommons.org/licenses/by-nc-sa/4.0": "CC-BY-NC-SA-4.0",
    "creativecommons.org/licenses/by-nc-nd/4.0": "CC-BY-NC-ND-4.0",
    "spdx.org/licenses/cc-by-4.0": "CC-BY-4.0",
    "spdx.org/licenses/cc0-1.0": "CC0-1.0",
}
WAVEBANDS = {  # by their names in lower case
    name.lower(): name for name in ("Radio", "Millimeter", "Infrared", "Optical", "UV", "EUV", "X-ray", "Gamma-ray")
}
# meta items that may occur several times, and the key that has all of them
JOINED_KEYS = {"facility": "facility", "instrument": "instrument", "contentlevel": "content_level"}
# meta items that Hven computes, or that only DaCHS uses, with the reason
UNUSED_META_REASONS = {
    "coverage.profile": "Hven computes the coverage from the rows",
    "coverage.spatial": "Hven computes the coverage from the rows",
    "coverage.temporal": "Hven computes the coverage from the rows",
    "coverage.spectral": "Hven computes the coverage from the rows",
    "coverage.regionofregard": "Hven computes the coverage from the rows",
    "schema-rank": "`index` orders collections, and the numbers of DaCHS order other things",
    "table-rank": "`index` orders tables, and the numbers of DaCHS order other things",
    "contact.address": "contacts of Hven have no postal address",
    "contact.telephone": "contacts of Hven have no telephone number",
    "_dataupdated": "Hven knows the time of the last ingest",
    "status": "Hven writes it",
    "identifier": "see the registry keys",
}


def list_meta_items(element: Element, prefix: str = "") -> Iterator[tuple[str, str, Element]]:
    """Yield the metadata of an element: names joined by dots, texts, and the elements."""
    for item in element.list_children("meta"):
        name = item.attributes.get("name", "").lstrip("!")
        full_name = f"{prefix}.{name}" if prefix and name else prefix or name
        if item.text or not item.list_children("meta"):
            yield full_name, item.text, item
        yield from list_meta_items(item, full_name)
    text = "" if prefix else element.text
    for line in text.splitlines() if element.tag == "meta" else ():
        name, separator, value = line.partition(":")
        if separator:
            yield name.strip(), value.strip(), element


def clean_text(text: str) -> str:
    """Join the lines of paragraphs, remove tags of HTML, and write addresses of links in parentheses."""
    text = re.sub(r"<(br|p|/p)\s*/?>", "\n\n", text)
    text = re.sub(r"`([^`<>]+?)\s*<([^`<>\s]+)>`_+", r"\1 (\2)", text)  # links of reStructuredText
    text = re.sub(r"</?\w+(?:\s[^<>]*)?/?>", "", text)  # not <https://...>
    paragraphs = re.split(r"\n\s*\n", textwrap.dedent(text).strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())


def find_licence(text: str) -> str | None:
    """Find the licence whose address is in a text; None: there is none."""
    return next((name for address, name in LICENCES.items() if address in text.lower()), None)


class MetadataConverter:
    """Collects the keys of a collection.

    Parameters
    ----------
    macros
        Values of macros in the texts.
    report
        Where it notes what it did.
    """

    def __init__(self, macros: MacroValues, report: MigrationReport) -> None:
        self._macros = macros
        self._report = report
        self._keys: dict[str, Any] = {}
        self._long_texts: list[str] = []
        self._element: Element | None = None  # whose text is converted

    def convert_metadata(self, resource: Element) -> dict[str, Any]:
        """Convert the metadata of a resource.

        Returns
        -------
        keys
            Keys of a descriptor and their values.
        """
        for name, raw_text, element in list_meta_items(resource):
            text = self._macros.replace_text_macros(raw_text)
            if not text:
                continue
            handler = getattr(self, "_convert_" + re.sub(r"\W", "_", name.lower()).strip("_"), None)
            if handler is not None:
                self._element = element
                handler(text)
            elif name.lower() in JOINED_KEYS:
                key = JOINED_KEYS[name.lower()]
                known_text = self._keys.get(key, text)
                self._keys[key] = known_text if text in known_text else f"{known_text}, {text}"
            elif name.lower() in UNUSED_META_REASONS:
                self._report.add_omission(element, f"meta {name}: {UNUSED_META_REASONS[name.lower()]}")
            elif not name.lower().startswith(("testquery", "note")):
                self._report.add_omission(element, f"meta {name} has no equivalent")
        coverage = resource.find_child("coverage")
        if coverage is not None:
            self._report.add_omission(coverage, "coverage: Hven computes the coverage from the rows")
        if self._long_texts:
            parts = [self._keys.get("description", ""), *self._long_texts]
            self._keys["description"] = "\n\n".join(part for part in parts if part)
        self._report.add_result(resource, f"metadata: {', '.join(self._keys) or 'none'}")
        return self._keys

    def _add_list_member(self, key: str, value: Any) -> None:
        members = self._keys.setdefault(key, [])
        if value not in members:
            members.append(value)

    def _convert_title(self, text: str) -> None:
        self._keys.setdefault("title", " ".join(text.split()))

    def _convert_description(self, text: str) -> None:
        self._keys.setdefault("description", clean_text(text))

    def _convert_longdoc(self, text: str) -> None:
        if len(text) > MAX_LONG_TEXT_CHARACTERS:
            self._report.add_decision(
                self._element, "_longdoc is longer than a description: publish it as a file, or on a page of the portal"
            )
            return
        self._long_texts.append(clean_text(text))

    _convert_intro = _convert_longdoc

    def _convert_creationdate(self, text: str) -> None:
        match = re.match(r"\d{4}-\d\d-\d\d", text)
        if match:
            self._keys["created"] = match[0]

    def _convert_subject(self, text: str) -> None:
        for subject in re.split(r"[,;]\s*", text) if len(text) > 60 else [text]:
            self._add_list_member("subjects", subject.strip())

    _convert_subjects = _convert_subject

    def _convert_creator(self, text: str) -> None:
        for name in re.split(r"\s*;\s*", " ".join(text.split())):
            if name:
                self._add_list_member("creators", {"name": name})

    _convert_creator_name = _convert_creator

    def _convert_contributor(self, text: str) -> None:
        self._add_list_member("contributors", {"name": " ".join(text.split())})

    _convert_contributor_name = _convert_contributor

    def _convert_source(self, text: str) -> None:
        match = BIBCODE_PATTERN.fullmatch(text)
        if match and "bibcode" not in self._keys:
            self._keys["bibcode"] = match[0]
        else:
            self._keys.setdefault("citation", " ".join(text.split()))

    def _convert_doi(self, text: str) -> None:
        self._keys["doi"] = text.removeprefix("doi:").removeprefix("https://doi.org/")

    def _convert_contact_name(self, text: str) -> None:
        self._keys.setdefault("contact", {})["name"] = " ".join(text.split())

    def _convert_contact_email(self, text: str) -> None:
        contact = self._keys.setdefault("contact", {})
        contact["email"] = text
        contact.setdefault("name", text)

    def _convert_publisher(self, text: str) -> None:
        self._keys["publisher"] = " ".join(text.split())

    def _convert_rights(self, text: str) -> None:
        attributes = {} if self._element is None else self._element.attributes
        licence = find_licence(f"{attributes.get('rightsURI', '')} {text}")
        if licence is not None:
            self._keys["licence"] = licence
            return
        self._keys.setdefault("acknowledgement", clean_text(text))
        self._report.add_decision(
            self._element, "the rights text became `acknowledgement`: choose a licence, and write its name as `licence`"
        )

    _convert_copyright = _convert_rights
    _convert_rights_rightsuri = _convert_rights

    def _convert_referenceurl(self, text: str) -> None:
        if re.match(r"https?://", text):
            self._keys["reference_url"] = text.split(maxsplit=1)[0]

    def _convert_shortname(self, text: str) -> None:
        if len(text) > MAX_SHORT_NAME_CHARACTERS:
            self._report.add_omission(self._element, f"meta shortName is cut to {MAX_SHORT_NAME_CHARACTERS} characters")
        self._keys["short_name"] = text[:MAX_SHORT_NAME_CHARACTERS].strip()

    def _convert_type(self, text: str) -> None:
        self._add_list_member("type", text)

    def _convert_coverage_waveband(self, text: str) -> None:
        for word in re.split(r"[,;#]\s*", text):
            waveband = WAVEBANDS.get(word.strip().lower())
            if waveband is not None:
                self._add_list_member("waveband", waveband)
            else:
                self._report.add_omission(
                    self._element, f"meta coverage.waveband: {word!r} is no waveband of the standard"
                )

    def _convert_utype(self, text: str) -> None:
        if "epn" not in text.lower():
            self._keys["utype"] = text

    def _convert_related(self, text: str) -> None:
        if re.match(r"https?://|doi:|10\.", text):
            self._add_list_member("related", {"id": text, "relation": "References"})

    def _convert_example(self, text: str) -> None:
        """Keep the query of an example for TAP."""
        match = re.search(r"(SELECT\b[\s\S]+?)(?:\n\s*\n(?!\s{4})|\Z)", text, re.IGNORECASE)
        parts = [] if self._element is None else self._element.list_children("meta")
        titles = [item.text for item in parts if item.attributes.get("name") == "title"]
        if match is None or not titles:
            self._report.add_omission(self._element, "meta _example has no query")
            return
        self._add_list_member("examples", {"title": titles[0], "query": " ".join(match[1].split())})

    def _convert_example_title(self, _text: str) -> None:
        """Skip the title, which its example uses."""
