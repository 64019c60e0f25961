"""What the panel of a row says besides its values: what it is called, its file, how it is cited, the files of its observation, sections."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from hven.portal._explore import Search, observation_lines
from hven.portal._explore.first_columns import title
from hven.portal._pages.texts import texts
from hven.portal._views.page_addresses import address
from hven.portal._views.row_lines import told
from hven.services.citing import bibtex
from hven.services.citing import sentence as cited

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.portal._explore.rows import Page
    from hven.portal._views.page_formats import Asked
    from hven.portal._views.table_page import View

# what sections are called: those of standards, as the form has them; others are called as they are named
SECTIONS = {
    "identity": "Identity", "product": "Product", "target": "Target", "time": "Time", "spectrum": "Spectrum", "space": "Place in space", "illumination": "Illumination",
    "instrument": "Instrument", "service": "Service", "access": "Data and links", "provenance": "Provenance", "measurement": "Measurement", "polarisation": "Polarisation",
    "map": "Map", "event": "Event", "optional": "Optional",
}  # fmt: skip
OTHERS = "More columns"


def panel(seen: View, state: Asked, page: Page, links: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return it for the one row of a page, as JSON.

    Parameters
    ----------
    links
        What the row leads to.
    """
    row = {column.name: page.rows.column(at)[0].as_py() for at, column in enumerate(page.columns)}
    named = title(seen.table)
    known = observation_lines.observed(seen.table, seen.asking)
    files = [] if known is None else observation_lines.files(page, Search(table=seen.table), known, seen.asking)[0]
    own = next((one for one in files if one.key == seen.search.row), None)
    file = {"href": own.address, "bytes": own.size} if own is not None and own.address else _file(row, seen, links)
    return {
        "title": "" if named is None else str(row.get(named.name) or ""),
        "file": file,
        "cite": _cited(seen, state),
        "files": [told(one) for one in files] if files[1:] else [],
        "sections": _sections(page, state),
    }


def _file(row: Mapping[str, Any], seen: View, links: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return where the row's file is: as its links say it, else its columns."""
    this = next((one for one in links if one["semantics"] == "this" and not one["locked"]), None)
    if this is not None:
        return {"href": this["href"], "bytes": this["bytes"]}
    one = observation_lines.file_of(row, seen.table)
    return None if one is None else {"href": one.address, "bytes": one.size}


def _cited(seen: View, state: Asked) -> dict[str, str] | None:
    """Return how a row is cited: its collection, and where and when it was seen."""
    release = seen.published.release
    resource = state.holdings.resources.get(seen.table.schema if release is None else release.collection)
    if resource is None:
        return None
    above = f"{state.brand.root}/collections/{quote(resource.name)}"
    here = f"{address(state.brand.root, seen.table)}?{urlencode({'_row': seen.search.row})}"
    day = datetime.now(UTC).date().isoformat()
    return {"text": f"{cited(resource)}. {here} ({day})", "bibtex": bibtex(resource, above)}


def _sections(page: Page, state: Asked) -> list[dict[str, Any]]:
    """Group columns by their sections, in the order in which these come; what has none comes last."""
    words = texts(state.language)
    found: dict[str, list[int]] = {}
    for number, column in enumerate(page.columns):
        found.setdefault(column.section or "", []).append(number)
    some = [*(one for one in found if one), *([""] if "" in found else [])]
    named = {one: SECTIONS.get(one, one.capitalize()) if one else OTHERS for one in some}
    return [{"title": words.get(named[one], named[one]), "columns": found[one]} for one in some]
