"""Links that UCDs make by themselves: papers at ADS, sources at SIMBAD and NED, addresses that say what is there."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hven.model.table import Column, Table
from hven.model.types import STRING
from hven.portal._explore.cell_text import format_cells
from hven.portal._explore.reference_links import list_reference_links
from hven.portal._explore.row_pages import RowPage


def column(ucd: str, **more: str) -> Column:
    return Column(name="x", type=STRING, ucd=ucd, **more)


@pytest.mark.parametrize(
    ("ucd", "value", "wanted"),
    [
        ("meta.bib.bibcode", "2016A&A...594A..27P", [("ADS", "https://ui.adsabs.harvard.edu/abs/2016A%26A...594A..27P/abstract")]),
        ("meta.bib.bibcode", "Planck Collaboration 2016", []),
        ("meta.id;src", "NGC 224", [("SIMBAD", "https://simbad.cds.unistra.fr/simbad/sim-id?Ident=NGC%20224"), ("NED", "https://ned.ipac.caltech.edu/byname?objname=NGC%20224")]),
        ("meta.id;meta.main;src", "M 31 & co", [("SIMBAD", "https://simbad.cds.unistra.fr/simbad/sim-id?Ident=M%2031%20%26%20co"), ("NED", "https://ned.ipac.caltech.edu/byname?objname=M%2031%20%26%20co")]),
        ("meta.id;obs", "obs 12", []),
        ("meta.id;src", "https://x.example/a", []),
        ("meta.ref.url", "https://x.example/papers/12", [("page", "https://x.example/papers/12")]),
        ("meta.ref.url", "https://x.example/a/b.fits.gz", [("download", "https://x.example/a/b.fits.gz")]),
        ("meta.ref.url;meta.file", "https://x.example/get?id=1", [("download", "https://x.example/get?id=1")]),
        ("meta.ref.url", "javascript:alert(1)", []),
        ("meta.ref.url", "", []),
    ],
)  # fmt: skip
def test_what_a_value_leads_to(ucd: str, value: str, wanted: list[tuple[str, str]]) -> None:
    assert [(one.target, one.address) for one in list_reference_links([(column(ucd), value)])] == wanted


def test_a_link_of_the_descriptor_comes_first() -> None:
    assert list_reference_links([(column("meta.id;src", link="https://x.example/${x}"), "M 31")]) == []
    assert list_reference_links([(column("meta.id;src"), None)]) == []


def test_bibcodes_are_links_where_they_stand() -> None:
    bib = column("meta.bib.bibcode")
    table = Table(schema="a", name="b", columns=(bib,))
    rows = pa.table({"x": ["1997A&A...323L..49P", "unknown", None]})
    page = RowPage(columns=(bib,), rows=rows, keys=("",) * 3, offset=0, has_more=False)
    (first,), (second,), (third,) = format_cells(page, table)
    assert first is not None
    assert first.text == "1997A&A...323L..49P"
    assert first.href == "https://ui.adsabs.harvard.edu/abs/1997A%26A...323L..49P/abstract"
    assert second is not None
    assert (second.href, third) == ("", None)
