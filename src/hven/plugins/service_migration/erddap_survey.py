"""Survey an ERDDAP server: its tabular data sets, whose rows are downloaded as CSV."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.table_descriptions import name_matches_pattern
from hven.model.errors import HvenError, SourceError
from hven.plugins.drafts.column_guesses import to_adql_identifier
from hven.plugins.migration.document_parts import find_type
from hven.plugins.service_migration.service_survey import SurveyedTable
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.plugins.service_migration.remote_documents import RemoteDocumentReader
from hven.plugins.service_migration.service_survey import ServiceSurvey

MAX_DATA_SETS = 500
MAX_DATA_BYTES = 4 << 30  # of the rows of a data set
MAX_DOWNLOAD_SECONDS = 3600.0
SERVICE_DATA_SET = "allDatasets"  # ERDDAP's own list
TIME_UNIT = "seconds since 1970-01-01T00:00:00Z"  # answers have ISO 8601 instead


def find_erddap_data_sets(url: str, documents: RemoteDocumentReader) -> tuple[str, list[dict[str, str]]] | None:
    """List the data sets of an ERDDAP server; None: it is none.

    Parameters
    ----------
    url
        Address of the server.
    documents
        Fetches documents.

    Returns
    -------
    service
        Address of ERDDAP, and its data sets as rows of its list.
    """
    base = re.sub(r"(/erddap)(/.*)?$", r"\1", url.rstrip("/"))
    if not base.endswith("/erddap"):
        base += "/erddap"
    document = documents.find(f"{base}/info/index.json?page=1&itemsPerPage={10 * MAX_DATA_SETS}")
    if document is None:
        return None
    try:
        return base, list(_list_rows(document.parse_json(), base))
    except SourceError:
        return None


def _list_rows(answer: Any, url: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a table of ERDDAP."""
    table = None
    if isinstance(answer, dict):
        table = answer.get("table")
    if not isinstance(table, dict) or not isinstance(table.get("columnNames"), list):
        raise SourceError(f"{url} returned no table of ERDDAP")
    for row in table.get("rows") or []:
        yield {str(name): str(value or "") for name, value in zip(table["columnNames"], row, strict=False)}


class ErddapSurveyor:
    """Asks an ERDDAP server about its data sets.

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

    def inspect_data_sets(self, data_sets: list[dict[str, str]], pattern: str, save: Callable[[], None]) -> None:
        """Ask about the tabular data sets; each becomes a collection with one table.

        Parameters
        ----------
        data_sets
            As `find_erddap_data_sets` lists them.
        pattern
            Identifier of the data sets, perhaps with ``*``.
        save
            Called after each data set.
        """
        for entry in data_sets:
            name = entry.get("Dataset ID", "")
            is_chosen = name not in {"", SERVICE_DATA_SET} and name_matches_pattern(pattern, name)
            if not is_chosen or self._survey.has_read(name):
                continue
            if name not in self._survey.tables and len(self._survey.tables) >= MAX_DATA_SETS:
                self._survey.problems.append(f"only the first {MAX_DATA_SETS} data sets were asked about")
                return
            self._survey.tables[name] = self._inspect_data_set(name, entry)
            save()

    def _inspect_data_set(self, name: str, entry: Mapping[str, str]) -> SurveyedTable:
        table = SurveyedTable(name=name, schema=name, local_name="main", title=entry.get("Title", ""))
        if not entry.get("tabledap"):
            table.failure = "it is a grid; Hven reads tables of ERDDAP"
            return table
        try:
            document = self._documents.fetch(f"{self._survey.url}/info/{name}/index.json")
            rows = list(_list_rows(document.parse_json(), document.url))
        except HvenError as error:
            table.failure = error.message
            return table
        attributes: dict[str, dict[str, str]] = {}
        for row in rows:
            variable = row.get("Variable Name", "")
            if row.get("Row Type") == "variable":
                table.columns[variable] = {"type": find_type(row.get("Data Type", ""))}
            elif row.get("Row Type") == "attribute":
                attributes.setdefault(variable, {})[row.get("Attribute Name", "")] = row.get("Value", "")
        for variable, column in table.columns.items():
            _describe_column(column, attributes.get(variable, {}))
        table.description = attributes.get("NC_GLOBAL", {}).get("summary", "")
        if not table.columns:
            table.failure = "its description lists no variables"
        table.source = {"kind": "csv", "files": f"data/{to_adql_identifier(name)}.csv", "units": True}
        return table


def _describe_column(column: dict[str, Any], attributes: Mapping[str, str]) -> None:
    text = attributes.get("long_name") or attributes.get("standard_name", "").replace("_", " ")
    if text:
        column["description"] = text
    unit = attributes.get("units", "")
    if unit == TIME_UNIT:
        column["type"] = "timestamp"
    elif unit and unit != "1":
        column["unit"] = unit


def download_rows(survey: ServiceSurvey, table: SurveyedTable, directory: Path, settings: Settings) -> Path:
    """Download the rows of a data set; an unfinished file never stands under its name.

    Parameters
    ----------
    survey, table
        The server and the data set.
    directory
        Directory of the collection.
    settings
        Decides which addresses are allowed.

    Raises
    ------
    UserError
        As for `hven.sources.http_client.download_file`.
    """
    target = directory / str(table.source["files"])
    if target.is_file():
        return target
    path = http_client.download_file(
        f"{survey.url}/tabledap/{table.name}.csv",
        target.parent,
        byte_limit=MAX_DATA_BYTES,
        total_timeout_seconds=MAX_DOWNLOAD_SECONDS,
        allow_private=settings.allow_private,
    )
    if path != target:
        path.replace(target)
    return target
