"""The style sheets of ASPRO and SearchCal make the same of this site's answers as of JMMC's own files."""

from __future__ import annotations

import gzip
import os
import re
import sys
from pathlib import Path

import pytest
from lxml import etree
from star_samples import publish_getstar_of_jmmc

from requirements import require
from shared import shared

sys.path.insert(0, str(Path(__file__).parents[1] / "source_votables"))

from votable_samples import publish_document, write_answer

pytestmark = pytest.mark.outside
# two answers may differ in their dates, and in how they spell numbers (1.0 and 1) and truth values (1 and true)
_DATE_PATTERN = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?")
_NUMBER_PATTERN = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])|\btrue\b|\bfalse\b")
JMMC_LOG_WORDS = {"-", "Xmatch", "log:"}  # the heading of the log, which this site does not send
_TRUTH_NUMBERS = {"true": 1.0, "false": 0.0}


def apply_style_sheet(name: str, document: bytes) -> str:
    """Return what a style sheet makes of a document, with one name for all dates, and one spelling of each number."""
    require("HVEN_JMMC_SHEETS")
    sheet = etree.XSLT(etree.parse(Path(os.environ["HVEN_JMMC_SHEETS"]) / name))
    text = _DATE_PATTERN.sub("DATE", str(sheet(etree.fromstring(document, etree.XMLParser(huge_tree=True)))))
    return _NUMBER_PATTERN.sub(lambda match: _write_number(match[0]), text)


def _write_number(text: str) -> str:
    return repr(_TRUTH_NUMBERS[text] if text in _TRUTH_NUMBERS else float(text))


def list_words(html: str) -> list[str]:
    """List the words of a page that readers see, with the links."""
    root = etree.HTML(html.encode())
    for element in list(root.iter("script", "style", "pre", "textarea")):
        element.getparent().remove(element)
    return " ".join(root.itertext()).split() + [link.get("href", "") for link in root.iter("a")]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Return JMMC's answer of GetStar for Sirius, and that of this site."""
    original = shared("data/interferometry/getstar-votable.vot").read_bytes()
    return original, publish_getstar_of_jmmc(tmp_path_factory.mktemp("sheets")).encode()


def test_getstars_own_page_shows_the_same(answers: tuple[bytes, bytes]) -> None:
    pages = [list_words(apply_style_sheet("getstarVOTableToHTML.xsl", data)) for data in answers]
    expected, written = ([word for word in words if word not in JMMC_LOG_WORDS] for words in pages)
    assert written == expected
    assert len(written) > 1000


def test_aspro_gets_the_same_target(answers: tuple[bytes, bytes]) -> None:
    expected, written = (apply_style_sheet("scvot2AsproObservation.xsl", data) for data in answers)
    assert written == expected
    assert "<name>" in written


@pytest.mark.parametrize("name", ["SearchCal-HD_32617.scvot.gz", "SearchCal-hip1234.scvot.gz"])
@pytest.mark.parametrize("sheet", ["sclguiVOTableToCSV.xsl", "sclguiVOTableToHTML.xsl", "sclguiVOTableToTSV.xsl"])
def test_files_of_searchcal_are_written_as_they_were(name: str, sheet: str) -> None:
    document = gzip.decompress(shared(f"data/interferometry/searchcal/{name}").read_bytes())
    metadata, batches = publish_document(document)
    written = write_answer(metadata, batches, names="source", version="1.1")
    result = apply_style_sheet(sheet, written)
    assert result == apply_style_sheet(sheet, document)
    assert len(result) > 5000
