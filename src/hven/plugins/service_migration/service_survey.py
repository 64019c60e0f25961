"""What was found out about a service, and the file that keeps it, so that a survey continues where it stopped."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlunsplit

from hven.model import split_address
from hven.model.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

MIGRATIONS_DIRECTORY = "migrations"
SURVEY_FILE = "survey.json"
TAP_PROGRAMS = ("TAP", "DaCHS", "vollt", "Daiquiri")  # the first: any other
MAX_SURVEY_BYTES = 256 << 20


@dataclass(slots=True, kw_only=True)
class SurveyedTable:
    """A table of the service.

    Attributes
    ----------
    name
        Its name in queries of the service.
    schema
        The schema; tables of one schema become one collection.
    local_name
        Its name without the schema.
    title, description, utype
        What the service says of it.
    columns
        Attributes of the columns in the service's answers, by name.
    primary
        Columns that foreign keys refer to.
    foreign_keys
        Key -> columns, target and target columns.
    source
        The source of the rows, as a descriptor has it.
    row_count
        Number of rows that the service counts; None: it does not.
    endpoint
        An old address of the rows, as a descriptor has it.
    sample
        Values of the first row that decide how the table is described.
    problems
        Contradictions between what the service says and what it sends.
    failure
        Why the table cannot be read; empty: it can.
    """

    name: str
    schema: str
    local_name: str
    title: str = ""
    description: str = ""
    utype: str = ""
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    primary: list[str] = field(default_factory=list)
    foreign_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    row_count: int | None = None
    endpoint: dict[str, Any] = field(default_factory=dict)
    sample: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    failure: str = ""


@dataclass(slots=True, kw_only=True)
class ServiceSurvey:
    """A service.

    Attributes
    ----------
    url
        Its address: for TAP, the one above ``/sync``.
    program
        The program that it seems to be: one of `TAP_PROGRAMS`, ``ERDDAP`` or ``SITools2``.
    interfaces
        Pairs of standard identifier and address in its capabilities.
    tables
        The tables that were asked about, by name.
    records
        Its registry records (`hven.plugins.service_migration.harvested_records`).
    registry_url
        Address of its publishing registry; empty: none was found.
    data_records
        Keys of collections by schemas and tables, from records of DataCite: ``kind``, ``name`` and ``keys``.
    row_limit
        Number of rows of its largest answer; None: it states none.
    examples
        Titles and queries of its examples.
    problems
        What is wrong with its documents.
    """

    url: str
    program: str = "TAP"
    interfaces: list[list[str]] = field(default_factory=list)
    tables: dict[str, SurveyedTable] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    registry_url: str = ""
    data_records: list[dict[str, Any]] = field(default_factory=list)
    row_limit: int | None = None
    examples: list[dict[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def readable_tables(self) -> list[SurveyedTable]:
        """The tables whose rows can be read."""
        return [table for table in self.tables.values() if not table.failure]

    def has_read(self, name: str) -> bool:
        """Return whether a table was read, so that nothing is asked about it again.

        Parameters
        ----------
        name
            Its name in `tables`.
        """
        return name in self.tables and not self.tables[name].failure


def build_server_url(url: str, path: str = "") -> str:
    """Build the address of the server of a service, or of a path there.

    Parameters
    ----------
    url
        Address of the service.
    path
        The path; empty: none.
    """
    parts = split_address(url)
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def build_migration_directory(site_directory: Path, url: str) -> Path:
    """Build the path of the directory for the files of a migration.

    Parameters
    ----------
    site_directory
        Directory of the site.
    url
        Address of the old service.
    """
    parts = split_address(url)
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}").strip("-.")
    return site_directory / MIGRATIONS_DIRECTORY / (name or "service")


def write_survey(directory: Path, survey: ServiceSurvey) -> None:
    """Write a survey; a killed process leaves the file before it.

    Parameters
    ----------
    directory
        Directory of the migration; created if needed.
    survey
        The survey.
    """
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / f"{SURVEY_FILE}.part"
    part.write_text(json.dumps(asdict(survey), indent=1) + "\n", encoding="utf-8")
    part.replace(directory / SURVEY_FILE)


def read_survey(directory: Path) -> ServiceSurvey | None:
    """Read the survey of a migration; None: there is none.

    Parameters
    ----------
    directory
        Directory of the migration.

    Raises
    ------
    UserError
        The file is no survey.
    """
    path = directory / SURVEY_FILE
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8") as file:
            values = json.loads(file.read(MAX_SURVEY_BYTES))
        tables = {name: SurveyedTable(**table) for name, table in values.pop("tables").items()}
        return ServiceSurvey(tables=tables, **values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read: {error}", remedy="remove the file; Hven then asks the service again"
        ) from error
