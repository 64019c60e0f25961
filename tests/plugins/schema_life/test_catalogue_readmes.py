"""A delivery has the form of the catalogues at CDS: JSDC (II/346) goes in with its own ReadMe, and comes out equal."""

from __future__ import annotations

import random
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import ascii as astropy_ascii
from readme_form import ReadmeColumn, ReadmeForm

from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven
from shared import shared

JSDC_README, JMDC_README = (f"data/interferometry/jmdc/ReadMe-{name}.txt" for name in ("JSDC-II_346", "JMDC-II_345"))
FILE_NAME = "jsdc_v2.dat"
ROW_COUNT = 200
ANGLE_PARTS = ("RAh", "RAm", "RAs", "DE-", "DEd", "DEm", "DEs")
DESCRIPTOR = """\
collection: jsdc
title: JMMC Stellar Diameters Catalogue - JSDC. Version 2
description: >-
  This catalogue contains stellar angular diameter estimates for nearly all the stars of the Hipparcos and Tycho
  catalogue that have an associated spectral type in Simbad/CDS.
creators: [{name: Bourges L.}, {name: Mella G.}, {name: Duvert G.}]
contact: {name: Gilles Duvert, email: gilles@jmmc.example}
citation: ASP Conference Series, Vol. 485, p.223 (2014)
bibcode: 2014ASPC..485..223B
subjects: ["Stars, standard", Interferometry]
acknowledgement: Please cite the reference publication 2016A&A...589A.112C
created: "2017-01-05"
related: [{relation: IsNewVersionOf, id: 2010yCat.2300....0L}]
tables:
  jsdc_v2:
    title: Stellar diameters catalogue, version 2
    source: {kind: fixed, files: jsdc_v2.dat, readme: ReadMe}
    follow: true
    map:
      ra: 15 * (RAh + RAm / 60.0 + RAs / 3600.0)
      dec: CASE WHEN "DE-" = '-' THEN -1 ELSE 1 END * (DEd + DEm / 60.0 + DEs / 3600.0)
    columns:
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension (J2000)}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination (J2000)}
"""


@pytest.mark.parametrize("readme", [JSDC_README, JMDC_README])
def test_the_readmes_of_cds_have_this_form(readme: str) -> None:
    assert ReadmeForm(shared(readme).read_text("latin-1")).faults == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("   35- 36  I2".replace("   ", "  ", 1), "  35- 37  I2", "the bytes of RAh do not fit"),
        ("  65- 84  A20", "  63- 84  A20", "the bytes of SpType do not fit"),
        ("e_Bmag  ", "Bmag    ", "the label Bmag is too long, or not the only one"),
        ("jsdc_v2.dat         367", "jsdc_v2.dat         366", "do not end at byte 366"),
        ("   <ASP Conference Series, Vol. 485, p.223 (2014)>", "   ASP Conference Series", "is not authors, reference"),
        ("Note (4): The error", "Note (5): The error", "refer to the notes"),
        ("File Summary:", "Files:", "is not in list"),
        ("   =2014ASPC", "   2014ASPC", "is not authors"),
    ],
)
def test_the_check_of_the_form_finds_faults(old: str, new: str, fault: str) -> None:
    text = shared(JSDC_README).read_text("latin-1")
    assert old in text
    try:
        faults = ReadmeForm(text.replace(old, new, 1)).faults
    except ValueError as error:
        faults = [str(error)]
    assert any(fault in line for line in faults), faults


def write_cell(column: ReadmeColumn, chance: random.Random) -> str:
    """Write a value as the format of a column says, or the sign of a missing value."""
    width = column.end - column.start + 1
    if column.is_optional and chance.random() < 0.2:
        return ("-1" if "LDD" in column.label or column.label.startswith("UDD") else "-").rjust(width)
    if column.label == "DE-":
        return chance.choice("+-")
    limits = {"RAh": 24, "DEd": 90, "CalFlag": 8}
    if column.format.startswith("I"):
        return f"{chance.randrange(limits.get(column.label, 60)):{width}d}"
    if column.format.startswith("A"):
        letters = "".join(chance.choice("ABCDEFGKM 0123456789") for _ in range(width - 2))
        return f"X{letters.strip()}Y".ljust(width)
    decimals = int(column.format.partition(".")[2])
    if column.format.startswith("E"):
        return f"{chance.uniform(0, 9) * 10.0 ** chance.randrange(-9, 3):{width}.{decimals}E}"[:width]
    value = chance.uniform(0, 59 if column.label in ANGLE_PARTS else min(30, 10 ** (width - decimals - 1) - 1))
    return f"{value:{width}.{decimals}f}"


def read_values(directory: Path, readme: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the unclosed parenthesis in the ReadMe of CDS
        table = astropy_ascii.read(str(directory / FILE_NAME), format="cds", readme=str(readme))
    table.sort("Name")  # the site stores rows by their place in the sky
    return table


def strip_additions(explanation: str) -> str:
    """Remove references to notes, which are numbers in parentheses at the end."""
    return re.sub(r"( \(\d+\)?)+$", "", explanation)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Publish rows in the columns of II/346, and deliver them."""
    place = tmp_path_factory.mktemp("jsdc")
    readme_text = shared(JSDC_README).read_text("latin-1")
    columns = ReadmeForm(readme_text).columns[FILE_NAME]
    chance = random.Random(346)
    lines = []
    for _ in range(ROW_COUNT):
        line = ""
        for column in columns:
            line = line.ljust(column.start - 1) + write_cell(column, chance)
        lines.append(line)
    files = {FILE_NAME: "\n".join(lines) + "\n", "ReadMe": readme_text}
    with open_site_with_uningested_files(place, DESCRIPTOR, files) as site:
        assert ingest_collection(site, "jsdc").tables["jsdc.jsdc_v2"].published == ROW_COUNT
        site.store.releases.add_collection_releases("R1", ["jsdc"], "The first *complete* version")
        site.refresh_published_state()
        names = {column.name for column in site.get_published_state().tables_by_name["jsdc.jsdc_v2"].table.columns}
    (place / "hven.toml").touch()
    omitted = [word for name in sorted(names & {*ANGLE_PARTS, "DE_"}) for word in ("--omit", name)]
    target = place / "delivery"
    run_hven("--site", place, "export", "jsdc", target, "--to", "cds", "--sexagesimal", *omitted)
    return place / "collections/jsdc", target


def test_the_readme_has_the_form_and_the_columns_of_the_catalogue(delivery: tuple[Path, Path]) -> None:
    original, written = (ReadmeForm((place / "ReadMe").read_text("latin-1")) for place in delivery)
    assert written.faults == []
    assert [name for name in original.sections if name in written.sections and name != "Acknowledgements"] == [
        name for name in written.sections if name != "Acknowledgements"
    ]
    assert set(original.sections) - set(written.sections) == {"Description"}
    assert (written.record_counts, written.record_bytes) == (
        {FILE_NAME: ROW_COUNT},
        {FILE_NAME: len((delivery[1] / FILE_NAME).read_bytes().splitlines()[0])},
    )
    columns = {column.label: column for column in written.columns[FILE_NAME]}
    expected_columns = {column.label: column for column in original.columns[FILE_NAME]}
    assert columns.keys() == expected_columns.keys()
    assert [label for label in columns if label not in ANGLE_PARTS] == [
        label for label in expected_columns if label not in ANGLE_PARTS
    ]
    for label, expected in expected_columns.items():
        column = columns[label]
        assert (column.unit, column.is_optional) == (expected.unit, expected.is_optional), label
        assert column.format[0] == expected.format[0], label
        if label not in ANGLE_PARTS and expected.format[0] != "E":  # 1.2e-06 is written as 0.0000012
            digits, expected_digits = (
                [int(text) for text in re.findall(r"\d+", item.format)] for item in (column, expected)
            )
            assert max(np.subtract(digits, expected_digits)) <= 0, label
        if label in ANGLE_PARTS:
            assert column.explanation.endswith("(J2000)"), label
        else:
            assert strip_additions(column.explanation) == strip_additions(expected.explanation), label


def test_the_readme_has_what_cds_asks_for(delivery: tuple[Path, Path]) -> None:
    lines = (delivery[1] / "ReadMe").read_text("ascii").splitlines()
    assert lines[0].startswith("JMMC Stellar Diameters Catalogue - JSDC. Version 2 ")
    assert lines[0].endswith(" (Bourges+, 2014)")
    for line in (
        "    <ASP Conference Series, Vol. 485, p.223 (2014)>",
        "    =2014ASPC..485..223B",
        "    2010yCat.2300....0L : is new version of",
        "  Gilles Duvert, gilles(at)jmmc.example",
        "    * 2017-01-05: first published",
    ):
        assert line in lines
    assert any(line.endswith("release R1: The first complete version") for line in lines)
    # names stand below each other, behind the prefixes e_
    assert {line.index("Bmag  ") for line in lines if re.search(r" (e_)?Bmag  ", line)} == {26}


def test_the_values_are_those_of_the_catalogue(delivery: tuple[Path, Path]) -> None:
    expected = read_values(delivery[0], delivery[0] / "ReadMe")
    written = read_values(delivery[1], delivery[1] / "ReadMe")
    assert len(written) == len(expected) == ROW_COUNT
    for name in expected.colnames:
        if name in ANGLE_PARTS:
            continue
        values, masks = expected[name], np.ma.getmaskarray(np.ma.asarray(expected[name]))
        assert (masks == np.ma.getmaskarray(np.ma.asarray(written[name]))).all(), name
        assert written[name].unit == values.unit, name
        pairs = zip(values[~masks].tolist(), written[name][~masks].tolist(), strict=True)
        assert all(
            str(first).strip() == str(second) if isinstance(first, str) else first == second for first, second in pairs
        ), name
    for hours, minutes, seconds, unit in (("RAh", "RAm", "RAs", 15), ("DEd", "DEm", "DEs", 1)):
        angles = [
            unit * (np.asarray(table[hours]) + np.asarray(table[minutes]) / 60 + np.asarray(table[seconds]) / 3600)
            for table in (expected, written)
        ]
        assert np.abs(angles[0] - angles[1]).max() * 3600 < 1e-4, hours
    assert list(written["DE-"]) == list(expected["DE-"])
