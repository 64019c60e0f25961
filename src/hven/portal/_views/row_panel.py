"""Describe a row for its panel: title, file, citation, files of its observation, and sections of columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from hven.portal._explore import TableSearch, observation_lines
from hven.portal._explore.first_columns import find_title_column
from hven.portal._pages.texts import load_page_translations
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.row_lines import observation_file_to_json
from hven.services.citations import write_bibtex, write_citation_sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.portal._explore.row_pages import RowPage
    from hven.portal._views.page_formats import PageContext
    from hven.portal._views.table_view import TableView

# titles of the sections of standards, as in forms; other sections have their names
SECTION_TITLES = {
    "identity": "Identity",
    "product": "Product",
    "target": "Target",
    "time": "Time",
    "spectrum": "Spectrum",
    "space": "Place in space",
    "illumination": "Illumination",
    "instrument": "Instrument",
    "service": "Service",
    "access": "Data and links",
    "provenance": "Provenance",
    "measurement": "Measurement",
    "polarisation": "Polarisation",
    "map": "Map",
    "event": "Event",
    "optional": "Optional",
}
OTHER_SECTION_TITLE = "More columns"


def build_row_panel(
    table_view: TableView, page_context: PageContext, page: RowPage, links: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the panel of the single row of a page, as JSON.

    Parameters
    ----------
    links
        The links of the row.
    """
    row = {column.name: page.rows.column(at)[0].as_py() for at, column in enumerate(page.columns)}
    title_column = find_title_column(table_view.table)
    observation_key = observation_lines.find_observation_column_roles(table_view.table, table_view.runner)
    files: list[observation_lines.ObservationFile] = []
    if observation_key is not None:
        table_search = TableSearch(table=table_view.table)
        line_files = observation_lines.list_observation_files(page, table_search, observation_key, table_view.runner)
        files = line_files[0]
    own_files = [observation_file for observation_file in files if observation_file.key == table_view.search.row]
    if own_files and own_files[0].address:
        file: dict[str, Any] | None = {"href": own_files[0].address, "bytes": own_files[0].size}
    else:
        file = _find_row_file(row, table_view, links)
    return {
        "title": "" if title_column is None else str(row.get(title_column.name) or ""),
        "file": file,
        "cite": _build_row_citation(table_view, page_context),
        "files": [observation_file_to_json(observation_file) for observation_file in files] if files[1:] else [],
        "sections": _group_columns_by_section(page, page_context),
    }


def _find_row_file(
    row: Mapping[str, Any], table_view: TableView, links: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return the file of the row, from its links or from its columns."""
    for link in links:
        if link["semantics"] == "this" and not link["locked"]:
            return {"href": link["href"], "bytes": link["bytes"]}
    observation_file = observation_lines.find_row_file(row, table_view.table)
    if observation_file is None:
        return None
    return {"href": observation_file.address, "bytes": observation_file.size}


def _build_row_citation(table_view: TableView, page_context: PageContext) -> dict[str, str] | None:
    """Return the citation of a row: its collection, its address and the date."""
    release = table_view.published.release
    if release is None:
        collection_name = table_view.table.schema
    else:
        collection_name = release.collection
    resource = page_context.published_state.resources.get(collection_name)
    if resource is None:
        return None
    collection_address = f"{page_context.brand.root}/collections/{quote(resource.name)}"
    row_query = urlencode({"_row": table_view.search.row})
    row_address = f"{build_table_address(page_context.brand.root, table_view.table)}?{row_query}"
    day = datetime.now(UTC).date().isoformat()
    return {
        "text": f"{write_citation_sentence(resource)}. {row_address} ({day})",
        "bibtex": write_bibtex(resource, collection_address),
    }


def _group_columns_by_section(page: RowPage, page_context: PageContext) -> list[dict[str, Any]]:
    """Group columns by section, in the order of the sections; columns without a section are last."""
    translations = load_page_translations(page_context.language)
    columns_by_section: dict[str, list[int]] = {}
    for number, column in enumerate(page.columns):
        columns_by_section.setdefault(column.section or "", []).append(number)
    section_names = [section for section in columns_by_section if section]
    if "" in columns_by_section:
        section_names.append("")
    sections = []
    for section in section_names:
        title = OTHER_SECTION_TITLE
        if section:
            title = SECTION_TITLES.get(section, section.capitalize())
        sections.append({"title": translations.get(title, title), "columns": columns_by_section[section]})
    return sections
