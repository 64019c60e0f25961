"""Texts of a package: documentation, licence, citation, provenance, the metadata of an RO-Crate, and bag-info.txt."""

from __future__ import annotations

import csv
import io
import mimetypes
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import hven
from hven.plugins.provenance.prov_documents import write_prov_json
from hven.plugins.provenance.prov_records import W3C_MODEL
from hven.plugins.provenance.provenance_requests import ReaderProvenance
from hven.plugins.provenance.provenance_search import ProvenanceSearchOptions, search_provenance
from hven.plugins.registry.datacite import build_datacite_record, write_datacite_xml
from hven.services.citations import find_licence_url, write_citation_sentence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.resource import CollectionSpec, Person
    from hven.plugins.packages.package_contents import PackageContents
    from hven.plugins.packages.package_members import MemberRecord

BAGIT_DECLARATION = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
CRATE_CONTEXT = "https://w3id.org/ro/crate/1.3/context"
CRATE_PROFILE = "https://w3id.org/ro/crate/1.3"
COLUMN_KEYS = ("table", "column", "type", "unit", "ucd", "utype", "description")
PARQUET_MEDIA_TYPE = "application/vnd.apache.parquet"
PROVENANCE_DEPTH = 20
ROOT_ID = "./"
FILE_DESCRIPTIONS = {  # by the first folder, or the name
    "rows": "Rows of the table",
    "files": "Product of the collection",
    "collection": "Descriptor for Hven, or a file beside it",
    "standards": "Standard of the site, which tables follow",
    "documentation": "What each column means",
    "provenance": "Origin of the rows, as W3C PROV-JSON",
    "metadata": "Citation, as DataCite XML",
    "snapshot.json": "The published state, as Hven describes it",
    "completeness.json": "What is locked, missing, or was changed meanwhile",
}
_RESERVED_PATTERN = re.compile(r"[\x00-\x20\"#%<>?\[\\\]^`{|}\x7f\ud800-\udfff]")
README_NAME, LICENCE_NAME = "README.md", "LICENCE.txt"


def iterate_documents(contents: PackageContents) -> Iterator[tuple[str, str]]:
    """Yield the texts that describe the collection.

    Parameters
    ----------
    contents
        What the package contains.

    Yields
    ------
    path, text
        Path below the folder of the payload, and the text.
    """
    yield README_NAME, _write_readme(contents)
    yield LICENCE_NAME, _write_licence(contents.resource)
    yield "documentation/columns.csv", _write_columns(contents)
    yield "metadata/datacite.xml", write_datacite_xml(build_datacite_record(contents.citation))
    yield "provenance/prov.json", _write_provenance(contents)


def _write_readme(contents: PackageContents) -> str:
    citation = contents.citation
    resource = contents.resource
    facts = {
        "Publisher": citation.publisher,
        "Address": citation.address,
        "Identifier": citation.ivoid,
        "DOI": citation.doi,
        "Cite": write_citation_sentence(resource, doi=citation.doi, year=citation.year),
        "Acknowledge": resource.acknowledgement,
        "Licence": _write_licence_line(resource),
    }
    lines = [f"# {citation.title}", "", (citation.description or "").strip(), ""]
    lines += [f"* {name}: {_join_words(text)}" for name, text in facts.items() if text]
    lines += [
        "",
        "## What is in this package",
        "",
        "* `rows/TABLE/part-*.parquet`: the rows of each table, as Apache Parquet; read the parts in their order.",
        "* `files/`: the products. In paths, `=` and two digits stand for the character with this hexadecimal code.",
        "* `documentation/columns.csv`: what each column means.",
        "* `metadata/datacite.xml`, `provenance/prov.json`: citation (DataCite) and origin (W3C PROV-JSON).",
        "* `collection/`: the descriptor for Hven and the files beside it, if the owner of the site made the package.",
        "* `completeness.json`: what is locked, missing, or was changed meanwhile, and why.",
        "* `snapshot.json`: the hash of all rows, and the tables as Hven describes them.",
        "* `ro-crate-metadata.json`: the contents in words of schema.org (RO-Crate 1.3).",
        "",
        "To publish it with another Hven, run `hven unpack PACKAGE` there.",
        "",
    ]
    return "\n".join(lines)


def _join_words(text: str | None) -> str:
    return " ".join((text or "").split())


def _write_licence_line(resource: CollectionSpec) -> str:
    return " ".join(text for text in (resource.licence, find_licence_url(resource)) if text)


def _write_licence(resource: CollectionSpec) -> str:
    lines = [_write_licence_line(resource) or "No licence is stated. Ask the publisher what you may do with the data."]
    if resource.acknowledgement:
        lines.append(f"Acknowledgement: {_join_words(resource.acknowledgement)}")
    return "\n".join([*lines, ""])


def _write_columns(contents: PackageContents) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMN_KEYS)
    for table in contents.tables:
        for column in table.columns:
            writer.writerow(
                (
                    table.qualified_name,
                    column.name,
                    str(column.arrow_field.type),
                    column.unit or "",
                    column.ucd or "",
                    column.utype or "",
                    _join_words(column.description),
                )
            )
    return text.getvalue()


def _write_provenance(contents: PackageContents) -> str:
    provenance = ReaderProvenance(contents.page_context)
    options = ProvenanceSearchOptions(depth=PROVENANCE_DEPTH)
    graph = search_provenance(provenance, [f"collection/{contents.name}"], options, provenance.reader_site.namespace)
    return write_prov_json(graph, W3C_MODEL).decode() + "\n"


def write_bag_info(
    contents: PackageContents, started: str, byte_count: int, file_count: int, snapshot_hash: str
) -> str:
    """Write bag-info.txt.

    Parameters
    ----------
    contents
        What the package contains.
    started
        When the package was begun, as ISO time.
    byte_count, file_count
        Size of the payload.
    snapshot_hash
        Hash of all rows.
    """
    citation = contents.citation
    contact = contents.resource.contact
    facts = [
        ("Source-Organization", citation.publisher),
        ("Contact-Name", contact and contact.name),
        ("Contact-Email", contact and contact.email),
        ("External-Description", citation.title),
        ("External-Identifier", citation.ivoid),
        ("External-Identifier", citation.doi and f"https://doi.org/{citation.doi}"),
        ("Bagging-Date", started[:10]),
        ("Payload-Oxum", f"{byte_count}.{file_count}"),
        ("Internal-Sender-Identifier", f"hven-snapshot:{snapshot_hash}"),
        ("Bag-Software-Agent", f"Hven {hven.__version__}"),
    ]
    return "".join(f"{label}: {_join_words(value)}\n" for label, value in facts if value)


def write_crate_metadata(
    contents: PackageContents, records: Sequence[MemberRecord], started: str, snapshot_hash: str
) -> dict[str, Any]:
    """Describe a package as an RO-Crate.

    Parameters
    ----------
    contents
        What the package contains.
    records
        Records of its files, with paths below the folder of the payload.
    started
        When the package was begun, as ISO time.
    snapshot_hash
        Hash of all rows.
    """
    citation = contents.citation
    resource = contents.resource
    licence_id = find_licence_url(resource) or f"#{LICENCE_NAME}"
    files = [_describe_file(record) for record in records]
    publisher = {
        "@id": citation.publisher_ror or "#publisher",
        "@type": "Organization",
        "name": citation.publisher,
        "url": contents.site.settings.site_url,
    }
    identifiers = [
        {"@id": "#snapshot", "name": "Hash of all rows", "propertyID": "hven-snapshot", "value": snapshot_hash},
        {"@id": "#ivoid", "name": "IVOA identifier", "propertyID": "ivoid", "value": citation.ivoid},
    ]
    agents = [*_describe_contact(resource, publisher), *_describe_creators(citation.creators)]
    people = [agent for agent in agents if agent["@type"] == "Person"]
    root = {
        "@id": ROOT_ID,
        "@type": "Dataset",
        "name": citation.title,
        "description": _join_words(citation.description) or citation.title,
        "datePublished": (citation.issued or citation.updated or started)[:10],
        "dateModified": (citation.updated or started)[:10],
        "license": {"@id": licence_id},
        "publisher": {"@id": publisher["@id"]},
        "identifier": [{"@id": identifier["@id"]} for identifier in identifiers],
        "mentions": {"@id": "#packaging"},
        "url": citation.address,
        "keywords": list(resource.subjects),
        "hasPart": [{"@id": entity["@id"]} for entity in files],
    }
    if people:
        authors = [{"@id": person["@id"]} for person in people]
        root["author"] = authors if len(authors) > 1 else authors[0]
    if citation.doi:
        root["cite-as"] = f"https://doi.org/{citation.doi}"
    entities: list[dict[str, Any]] = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "about": {"@id": ROOT_ID},
            "conformsTo": {"@id": CRATE_PROFILE},
        },
        root,
        {
            "@id": licence_id,
            "@type": "CreativeWork",
            "name": resource.licence or "No licence is stated",
            "description": _write_licence_line(resource) or "Ask the publisher what you may do with the data.",
        },
        publisher,
        *({"@type": "PropertyValue", **identifier} for identifier in identifiers),
        {
            "@id": "#packaging",
            "@type": "CreateAction",
            "name": "Packaging",
            "endTime": started,
            "instrument": {"@id": "#hven"},
            "result": {"@id": ROOT_ID},
        },
        {
            "@id": "#hven",
            "@type": "SoftwareApplication",
            "name": "Hven",
            "version": hven.__version__,
            "url": contents.site.settings.site_url,
        },
        *agents,
        *files,
    ]
    return {"@context": CRATE_CONTEXT, "@graph": entities}


def _describe_contact(resource: CollectionSpec, publisher: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe whom to ask, and let the publisher refer to it."""
    contact = resource.contact
    if contact is None or not contact.email:
        return []
    publisher["contactPoint"] = {"@id": f"mailto:{contact.email}"}
    entity = {"@type": "ContactPoint", "contactType": "data", "name": contact.name, "email": contact.email}
    return [{**publisher["contactPoint"], **entity}]


def _describe_creators(creators: Sequence[Person]) -> list[dict[str, Any]]:
    """Describe the creators and their institutes."""
    entities: dict[str, dict[str, Any]] = {}
    for number, person in enumerate(creators):
        person_id = f"https://orcid.org/{person.orcid.rpartition('/')[2]}" if person.orcid else f"#creator-{number}"
        entity: dict[str, Any] = {"@id": person_id, "@type": "Person", "name": person.name}
        if person.affiliation:
            institute_id = person.ror or f"#affiliation-{quote(person.affiliation)}"
            institute = {"@id": institute_id, "@type": "Organization", "name": person.affiliation}
            entities[institute_id] = institute | ({"url": institute_id} if person.ror else {})
            entity["affiliation"] = {"@id": institute_id}
        entities[person_id] = entity
    return list(entities.values())


def _describe_file(record: MemberRecord) -> dict[str, Any]:
    name = PurePosixPath(record.path).name
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if name.endswith(".parquet"):
        media_type = PARQUET_MEDIA_TYPE
    folder = record.path.partition("/")[0]
    description = FILE_DESCRIPTIONS.get(folder, "About the collection")
    if folder == "rows":
        description = f"{description} {PurePosixPath(record.path).parent.name}"
    return {
        # only what ASCII reserves is encoded: the others stay in UTF-8
        "@id": _RESERVED_PATTERN.sub(lambda match: quote(match[0], errors="surrogateescape"), record.path),
        "@type": "File",
        "name": name,
        "description": f"{record.status}: {record.reason}" if record.status else description,
        "encodingFormat": media_type,
        "contentSize": str(record.size),
        "sha256": record.sha256,
    }
