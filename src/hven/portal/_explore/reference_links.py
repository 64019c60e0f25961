"""Build links from values by the UCDs of their columns.

Bibcodes link to ADS, names of sources to SIMBAD and NED, and web addresses to their files or pages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from hven.formats.media import detect_product_file_format

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hven.model.table import Column

BIBCODE_PATTERN = re.compile(r"\d{4}[A-Za-z0-9&.]{14}[A-Z.]")  # 19 characters: year, journal, volume, page, initial
ADS_ADDRESS = "https://ui.adsabs.harvard.edu/abs/{}/abstract"
NAME_SERVICES = {
    "SIMBAD": "https://simbad.cds.unistra.fr/simbad/sim-id?Ident={}",
    "NED": "https://ned.ipac.caltech.edu/byname?objname={}",
}
MAX_NAME_CHARACTERS = 60  # a longer text is not the name of a source
ARCHIVE_EXTENSIONS = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz")
WEB_ADDRESS_PATTERN = re.compile(r"https?://[^\s<>\"']+", re.IGNORECASE)


class ReferenceLink(NamedTuple):
    """A link; `target` is the name of a service, ``download`` for a file, or ``page`` for another address."""

    target: str
    value: str
    address: str


def build_bibcode_address(column: Column, text: str) -> str:
    """Build the address of a paper from its bibcode; empty if the column or the text has no bibcode."""
    if "meta.bib.bibcode" not in _split_ucd(column) or not BIBCODE_PATTERN.fullmatch(text.strip()):
        return ""
    return ADS_ADDRESS.format(quote(text.strip(), safe=""))


def list_reference_links(columns: Iterable[tuple[Column, object]]) -> list[ReferenceLink]:
    """List the links of the values of a row; columns with a link template of their own are left out.

    Parameters
    ----------
    columns
        Each column with its value.
    """
    links: list[ReferenceLink] = []
    for column, value in columns:
        if column.link or column.hidden or not isinstance(value, str) or not value.strip():
            continue
        text = value.strip()
        words = _split_ucd(column)
        address = build_bibcode_address(column, text)
        if address:
            links.append(ReferenceLink("ADS", text, address))
        elif words >= {"meta.id", "src"} and len(text) <= MAX_NAME_CHARACTERS and not WEB_ADDRESS_PATTERN.match(text):
            links += [ReferenceLink(name, text, to.format(quote(text, safe=""))) for name, to in NAME_SERVICES.items()]
        elif "meta.ref.url" in words and WEB_ADDRESS_PATTERN.fullmatch(text):
            is_file = _is_file_address(column, text)
            links.append(ReferenceLink("download" if is_file else "page", text, text))
    return links


def _split_ucd(column: Column) -> set[str]:
    return {word.strip() for word in (column.ucd or "").lower().split(";")}


def _is_file_address(column: Column, address: str) -> bool:
    """Return whether an address leads to a file, by the column's UCD or the ending of the address."""
    path = address.partition("?")[0].partition("#")[0]
    return (
        "meta.file" in _split_ucd(column)
        or path.lower().endswith(ARCHIVE_EXTENSIONS)
        or detect_product_file_format(path.rpartition("/")[2]) is not None
    )
