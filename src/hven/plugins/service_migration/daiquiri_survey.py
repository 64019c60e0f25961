"""Survey what Daiquiri says beside TAP: whole descriptions, and the DataCite records of schemas and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model import split_address
from hven.model.errors import HvenError, SourceError
from hven.plugins.migration.metadata_conversion import clean_text
from hven.plugins.service_migration.harvested_records import harvest_elements
from hven.plugins.service_migration.remote_documents import find_text, join_text
from hven.plugins.service_migration.service_survey import build_server_url
from hven.plugins.service_migration.tap_survey import choose_longer_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lxml import etree

    from hven.plugins.service_migration.remote_documents import RemoteDocumentReader
    from hven.plugins.service_migration.service_survey import ServiceSurvey
    from hven.sources import SourceContext

SCHEMAS_PATH = "metadata/api/schemas/user/"  # what anonymous users may query
REPOSITORY_PATH = "oai/"
DATACITE_PREFIX = "oai_datacite"
RECORD_KINDS = ("schemas", "tables")  # in the identifiers of records: oai:HOST:tables/SCHEMA.TABLE
DOI_PREFIX = "10."


def add_daiquiri_metadata(
    survey: ServiceSurvey, documents: RemoteDocumentReader, context: SourceContext, directory: Path
) -> None:
    """Complete the survey of a TAP service if it is a Daiquiri; others stay as they are.

    Parameters
    ----------
    survey
        Takes the results.
    documents
        Fetches documents.
    context
        Decides which addresses are allowed.
    directory
        Directory that keeps the harvest.
    """
    root = build_server_url(survey.url, split_address(survey.url).path.rstrip("/").rpartition("/")[0])
    document = documents.find(f"{root}/{SCHEMAS_PATH}")
    if document is None:
        return
    try:
        schemas = list(_list_named_objects(document.parse_json()))
    except SourceError:
        return
    if not any("query_strings" in schema for schema in schemas):
        return
    survey.program = "Daiquiri"
    for schema in schemas:
        for table in _list_named_objects(schema.get("tables")):
            _add_descriptions(survey, f"{schema['name']}.{table['name']}", table)
    try:
        survey.data_records = _harvest_data_records(f"{root}/{REPOSITORY_PATH}", context, directory)
    except HvenError as error:
        survey.problems.append(f"titles, licences and DOIs of Daiquiri were not read: {error.message}")


def _list_named_objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in a list that have a name; there may be none."""
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            yield entry


def _add_descriptions(survey: ServiceSurvey, name: str, described: Mapping[str, Any]) -> None:
    """Replace texts that TAP_SCHEMA cut by the whole ones."""
    table = next((table for key, table in survey.tables.items() if key.lower() == name.lower()), None)
    if table is None:
        return
    table.description = choose_longer_text(table.description, _read_text(described))
    columns = {column.lower(): attributes for column, attributes in table.columns.items()}
    for column in _list_named_objects(described.get("columns")):
        attributes = columns.get(column["name"].lower())
        text = _read_text(column)
        if attributes is not None and text:
            attributes["description"] = choose_longer_text(str(attributes.get("description", "")), text)


def _read_text(described: Mapping[str, Any]) -> str:
    return clean_text(str(described.get("description") or ""))


def _harvest_data_records(url: str, context: SourceContext, directory: Path) -> list[dict[str, Any]]:
    """Harvest the records of schemas and tables."""
    records = []
    for element in harvest_elements(url, DATACITE_PREFIX, context, directory):
        kind, _, name = element.get("identifier", "").rpartition(":")[2].partition("/")
        if kind in RECORD_KINDS and name:
            records.append({"kind": kind, "name": name, "keys": _read_keys(element)})
    return sorted(records, key=lambda record: (record["kind"], record["name"]))


def _read_keys(element: etree._Element) -> dict[str, Any]:
    """Read the keys of a collection from a DataCite record."""
    identifier = _join_texts(element, "resource/identifier")
    rights = element.find(".//{*}rightsList/{*}rights")
    description = element.find(".//{*}descriptions/{*}description")
    keys: dict[str, Any] = {
        "title": _join_texts(element, "titles/title"),
        "description": "" if description is None else clean_text(join_text(description)),
        "creators": _list_people(element, "creator"),
        "contributors": _list_people(element, "contributor"),
        "doi": identifier if identifier.startswith(DOI_PREFIX) else "",
        "licence": "" if rights is None else rights.get("rightsIdentifier", ""),
        "publisher": _join_texts(element, "resource/publisher"),
    }
    return {name: value for name, value in keys.items() if value}


def _join_texts(element: etree._Element, path: str) -> str:
    """Join the texts of all descendants with a path of two names."""
    parent, name = path.split("/")
    return " ".join(join_text(part).strip() for part in element.iterfind(f".//{{*}}{parent}/{{*}}{name}"))


def _list_people(element: etree._Element, kind: str) -> list[dict[str, str]]:
    people = (_read_person(part, kind) for part in element.iterfind(f".//{{*}}{kind}s/{{*}}{kind}"))
    return [person for person in people if person["name"]]


def _read_person(element: etree._Element, kind: str) -> dict[str, str]:
    person = {"name": find_text(element, f"{kind}Name"), "affiliation": find_text(element, "affiliation")}
    for part in element.iterfind("{*}nameIdentifier"):
        if part.get("nameIdentifierScheme") == "ORCID":
            person["orcid"] = join_text(part).strip().rstrip("/").rpartition("/")[2]
    return {name: text for name, text in person.items() if text or name == "name"}
