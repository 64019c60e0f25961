"""What the panel of a row says besides its values.

What it is called, its file, how it is cited, the files of its observation, sections.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from hven.portal._explore import TableSearch, observation_lines
from hven.portal._explore.first_columns import find_title_column
from hven.portal._pages.texts import load_texts
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.row_lines import file_to_json
from hven.services.citations import write_bibtex, write_citation_sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.portal._explore.row_pages import RowPage
    from hven.portal._views.page_formats import PageContext
    from hven.portal._views.table_view import TableView

# what sections are called: those of standards, as the form has them; others are called as they are named
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
    """Return it for the one row of a page, as JSON.

    Parameters
    ----------
    links
        What the row leads to.
    """
    row = {column.name: page.rows.column(at)[0].as_py() for at, column in enumerate(page.columns)}
    title_column = find_title_column(table_view.table)
    observation_key = observation_lines.find_observation_key(table_view.table, table_view.runner)
    if observation_key is None:
        files = []
    else:
        line_files = observation_lines.list_line_files(
            page, TableSearch(table=table_view.table), observation_key, table_view.runner
        )
        files = line_files[0]
    own_file = next(
        (observation_file for observation_file in files if observation_file.key == table_view.search.row), None
    )
    file = (
        {"href": own_file.address, "bytes": own_file.size}
        if own_file is not None and own_file.address
        else _find_row_file(row, table_view, links)
    )
    return {
        "title": "" if title_column is None else str(row.get(title_column.name) or ""),
        "file": file,
        "cite": _build_row_citation(table_view, page_context),
        "files": [file_to_json(observation_file) for observation_file in files] if files[1:] else [],
        "sections": _group_columns(page, page_context),
    }


def _find_row_file(
    row: Mapping[str, Any], table_view: TableView, links: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return where the row's file is: as its links say it, else its columns."""
    file_link = next(
        (
            observation_file
            for observation_file in links
            if observation_file["semantics"] == "this" and not observation_file["locked"]
        ),
        None,
    )
    if file_link is not None:
        return {"href": file_link["href"], "bytes": file_link["bytes"]}
    observation_file = observation_lines.find_row_file(row, table_view.table)
    if observation_file is None:
        return None
    return {"href": observation_file.address, "bytes": observation_file.size}


def _build_row_citation(table_view: TableView, page_context: PageContext) -> dict[str, str] | None:
    """Return how a row is cited: its collection, and where and when it was seen."""
    release = table_view.published.release
    resource = page_context.published_state.resources.get(
        table_view.table.schema if release is None else release.collection
    )
    if resource is None:
        return None
    collection_address = f"{page_context.brand.root}/collections/{quote(resource.name)}"
    row_address = (
        f"{build_table_address(page_context.brand.root, table_view.table)}?{urlencode({'_row': table_view.search.row})}"
    )
    day = datetime.now(UTC).date().isoformat()
    return {
        "text": f"{write_citation_sentence(resource)}. {row_address} ({day})",
        "bibtex": write_bibtex(resource, collection_address),
    }


def _group_columns(page: RowPage, page_context: PageContext) -> list[dict[str, Any]]:
    """Group columns by their sections, in the order in which these come; what has none comes last."""
    translations = load_texts(page_context.language)
    columns_by_section: dict[str, list[int]] = {}
    for number, column in enumerate(page.columns):
        columns_by_section.setdefault(column.section or "", []).append(number)
    section_names = [
        *(section for section in columns_by_section if section),
        *([""] if "" in columns_by_section else []),
    ]
    section_titles = {
        section: SECTION_TITLES.get(section, section.capitalize()) if section else OTHER_SECTION_TITLE
        for section in section_names
    }
    return [
        {
            "title": translations.get(section_titles[section], section_titles[section]),
            "columns": columns_by_section[section],
        }
        for section in section_names
    ]
