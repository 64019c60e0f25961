"""Survey a SITools2 server by its REST interface: projects, data sets, columns and numbers of rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from hven.descriptor.api.table_descriptions import name_matches_pattern
from hven.model import split_address
from hven.model.errors import HvenError, SourceError
from hven.plugins.drafts.column_guesses import to_adql_identifier
from hven.plugins.migration.document_parts import find_type
from hven.plugins.service_migration.service_survey import SurveyedTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.plugins.service_migration.remote_documents import RemoteDocumentReader
    from hven.plugins.service_migration.service_survey import ServiceSurvey

PROJECTS_PATH = "sitools/portal/projects"
PAGE_ROWS = 300  # SITools2's own limit of a page
MAX_DATA_SETS = 500
MAX_SAMPLE_BYTES = 4 << 20
HIDING_BEHAVIOURS = {"noClientAccess"}


def find_sitools_root(url: str) -> str:
    """Find the address of the server, to which the paths of data sets are relative.

    Parameters
    ----------
    url
        Address of SITools2, as it was given.
    """
    return re.sub(r"/sitools(/.*)?$", "", url.rstrip("/"))


def find_sitools_projects(url: str, documents: RemoteDocumentReader) -> list[Mapping[str, Any]] | None:
    """List the projects of a SITools2 server; None: it is none.

    Parameters
    ----------
    url
        Address of the server.
    documents
        Fetches documents.
    """
    document = documents.find(f"{find_sitools_root(url)}/{PROJECTS_PATH}?media=json")
    if document is None:
        return None
    try:
        return list_objects(document.parse_json(), "data")
    except SourceError:
        return None


class SitoolsSurveyor:
    """Asks a SITools2 server about its data sets.

    Parameters
    ----------
    survey
        Takes the results.
    documents
        Fetches documents.
    """

    def __init__(self, survey: ServiceSurvey, documents: RemoteDocumentReader) -> None:
        self._survey = survey
        self._documents = documents
        self._base = find_sitools_root(survey.url)

    def inspect_projects(self, projects: list[Mapping[str, Any]], pattern: str, save: Callable[[], None]) -> None:
        """Ask about the data sets of the projects. A project becomes a collection.

        Parameters
        ----------
        projects
            As `find_sitools_projects` lists them.
        pattern
            Path of the data sets without its first slash, perhaps with ``*``.
        save
            Called after each data set.
        """
        for project in projects:
            name = str(project.get("name") or "project")
            for path in self._list_data_sets(project):
                if self._survey.has_read(path) or not name_matches_pattern(pattern, path.strip("/")):
                    continue
                if path not in self._survey.tables and len(self._survey.tables) >= MAX_DATA_SETS:
                    self._survey.problems.append(f"only the first {MAX_DATA_SETS} data sets were asked about")
                    return
                self._survey.tables[path] = self._inspect_data_set(name, path)
                save()

    def _list_data_sets(self, project: Mapping[str, Any]) -> Iterator[str]:
        """Yield the paths of the data sets of a project."""
        address = str(project.get("sitoolsAttachementForUsers") or "")
        if not address.startswith("/"):
            self._survey.problems.append(f"the project {project.get('name')} has no address")
            return
        url = f"{self._base}{address if address.startswith('/sitools') else '/sitools' + address}"
        try:
            entries = list_objects({"data": [], **self._fetch_json(f"{url}/datasets?media=json")}, "data")
        except HvenError as error:
            self._survey.problems.append(f"the project {project.get('name')} was not read: {error.message}")
            return
        for entry in entries:
            path = str(entry.get("url") or entry.get("sitoolsAttachementForUsers") or "")
            if path.startswith("/"):
                yield path

    def _fetch_json(self, url: str) -> dict[str, Any]:
        answer = self._documents.fetch(url).parse_json()
        if not isinstance(answer, dict) or answer.get("success") is False:
            raise SourceError(f"{url} did not return an object of SITools2")
        return answer

    def _inspect_data_set(self, project: str, path: str) -> SurveyedTable:
        table = SurveyedTable(name=path, schema=to_adql_identifier(project, "project"), local_name=path.strip("/"))
        url = f"{self._base}{path}"
        try:
            data_set = self._fetch_json(f"{url}?media=json").get("dataset")
            if not isinstance(data_set, dict):
                raise SourceError(f"{url} has no `dataset`")
            table.title = str(data_set.get("name") or "")
            table.description = re.sub(r"<[^<>]*>", " ", str(data_set.get("description") or "")).strip()
            total = self._fetch_json(f"{url}/count?media=json").get("total")
            if isinstance(total, int) and total >= 0:
                table.row_count = total
            else:
                table.row_count = None
            primary = self._add_columns(table, data_set)
            self._compare_with_records(table, url)
        except HvenError as error:
            table.failure = error.message
            return table
        if all(name in table.columns for name in primary):
            table.primary = primary
        else:
            table.primary = []
        table.source = {
            "kind": "rest",
            "url": f"{url}/records",
            "params": {"media": "json"},
            "records": "data",
            "offset": "start",
            "limit": "limit",
            "page": PAGE_ROWS,
            "count": "total",
        }
        table.endpoint = {"path": split_address(urljoin(f"{url}/", ".")).path.rstrip("/"), "like": "sitools2"}
        if table.title:
            table.endpoint["title"] = table.title
        return table

    def _add_columns(self, table: SurveyedTable, data_set: Mapping[str, Any]) -> list[str]:
        """Add the columns; return the primary key."""
        primary = []
        for entry in list_objects({"columnModel": [], **data_set}, "columnModel"):
            name = str(entry.get("columnAlias") or entry.get("dataIndex") or "")
            if not name:
                continue
            renderer = entry.get("columnRenderer")
            if isinstance(renderer, dict):
                behaviour = str(renderer.get("behavior") or "")
            else:
                behaviour = str(renderer or "")
            if behaviour in HIDING_BEHAVIOURS:
                table.problems.append(f"the column {name} is hidden from clients, so its values cannot be copied")
                continue
            attributes: dict[str, Any] = {"type": find_type(str(entry.get("sqlColumnType") or ""))}
            label, text = str(entry.get("header") or ""), str(entry.get("toolTip") or "")
            if label and label != name:
                attributes["label"] = label
            if text:
                attributes["description"] = text
            unit = None
            if isinstance(entry.get("unit"), dict):
                unit = (entry.get("unit") or {}).get("unitName")
            if unit:
                attributes["unit"] = str(unit)
            table.columns[name] = attributes
            if entry.get("primaryKey"):
                primary.append(name)
        if not table.columns:
            raise SourceError(f"the data set {table.name} lists no columns")
        return primary

    def _compare_with_records(self, table: SurveyedTable, url: str) -> None:
        """Compare the columns and the number of rows with the first records."""
        document = self._documents.fetch(f"{url}/records?media=json&start=0&limit={PAGE_ROWS}", MAX_SAMPLE_BYTES)
        records = list_objects(document.parse_json(), "data")
        if records:
            sent = set().union(*records)
        else:
            sent = set(table.columns)
        missing = [name for name in table.columns if name not in sent]
        if missing:
            table.problems.append(f"the first records have no values in {', '.join(missing)}")
        unknown = sorted(sent - table.columns.keys())
        if unknown:
            table.problems.append(f"records have the columns {', '.join(unknown)}, which the data set does not list")
        expected = min(table.row_count or 0, PAGE_ROWS)
        if table.row_count is not None and len(records) != expected:
            table.problems.append(
                f"/count states {table.row_count:,} rows, but the first page has {len(records):,} rows instead of "
                f"{expected:,}"
            )


def list_objects(answer: Any, name: str) -> list[Mapping[str, Any]]:
    """List the objects in a member of an answer.

    Parameters
    ----------
    answer
        The answer, as it was parsed.
    name
        Name of the member.

    Raises
    ------
    SourceError
        It is missing, or is no list of objects.
    """
    entries = None
    if isinstance(answer, dict):
        entries = answer.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SourceError(f"`{name}` is not a list of objects")
    return entries
