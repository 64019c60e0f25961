"""pyvo: what astronomers' scripts do, and queries over Hipparcos answered a second time by numpy and astropy."""

from __future__ import annotations

import io
import re
import warnings
from urllib.parse import quote

import astropy.units as u
import numpy as np
import pytest
import pyvo
from astropy.coordinates import SkyCoord, angular_separation
from astropy.utils.exceptions import AstropyDeprecationWarning
from pyvo.dal.exceptions import DALOverflowWarning, DALQueryError, DALServiceError
from pyvo.io import vosi

from process_runner import Server

pytestmark = [pytest.mark.standard, pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]


@pytest.fixture(scope="module")
def tap(server: Server) -> pyvo.dal.TAPService:
    return pyvo.dal.TAPService(f"{server.url}/tap")


def test_tables_are_listed_with_their_columns(tap: pyvo.dal.TAPService) -> None:
    tables = tap.tables
    assert {
        "hipparcos.main",
        "openngc.main",
        "openngc.large",
        "jmdc.main",
        "charm.main",
        "flares.main",
        "tycho.main",
        "maser.main",
    } <= set(tables.keys())
    assert {"tap_schema.tables", "tap_schema.columns"} <= {name.lower() for name in tables.keys()}  # noqa: SIM118  (no dict)
    columns = {column.name: column for column in tables["hipparcos.main"].columns}
    assert columns["ra"].ucd == "pos.eq.ra;meta.main"
    assert str(columns["pm_ra"].unit) == "mas/yr"
    assert columns["vmag"].flags == ["indexed", "principal"] or "indexed" in columns["vmag"].flags
    assert len(tables["jmdc.main"].columns) == 251
    tap.describe()


def test_rows_lead_to_what_their_descriptor_says(tap: pyvo.dal.TAPService) -> None:
    found = tap.search("SELECT TOP 2 * FROM openngc.main WHERE major_axis > 60 ORDER BY major_axis DESC")
    this, large, page = found[0].getdatalink()
    assert (this.semantics, this.access_url) == ("#this", f"https://data.example/{quote(found[0]['id'])}.fits")
    assert (this.content_type, this.content_length) == ("image/fits", 1000)
    assert large.semantics == "#counterpart"
    assert (page.semantics, page.description) == ("#documentation", f"What {found[0]['long_name']} is")
    every = [one for links in found.iter_datalinks() for one in links.bysemantics("#this", include_narrower=False)]
    assert [one["ID"] for one in every] == [row["id"] for row in found]


def test_the_service_tells_what_it_can(tap: pyvo.dal.TAPService) -> None:
    with pytest.warns(AstropyDeprecationWarning):  # pyvo's own name for it is on the way out
        assert tap.available
    assert tap.maxrec == 2_000_000
    assert tap.hardlimit == 20_000_000
    language = next(language for language in tap.get_tap_capability().languages if language.name == "ADQL")
    assert {str(version.content) for version in language.versions} >= {"2.0", "2.1"}
    forms = {form.mime for form in tap.get_tap_capability().outputformats}
    assert "application/x-votable+xml" in {form.partition(";")[0] for form in forms}


def test_rows_come_with_types_units_and_ucds(tap: pyvo.dal.TAPService) -> None:
    result = tap.search("SELECT TOP 3 star, name, ra, vmag FROM hipparcos.main ORDER BY vmag")
    table = result.to_qtable()
    assert list(table["name"]) == ["Sirius", "Canopus", "Arcturus"]
    assert table["ra"].unit == u.deg
    assert table["vmag"].dtype == np.float32
    assert result.fieldname_with_ucd("phot.mag;em.opt.V") == "vmag"
    assert result.status[0] == "OK"


def test_nulls_are_masked(tap: pyvo.dal.TAPService) -> None:
    table = tap.search("SELECT id, magnitude FROM openngc.main WHERE magnitude IS NULL").to_table()
    assert len(table) > 100
    assert np.all(np.ma.getmaskarray(table["magnitude"]) | np.isnan(np.ma.getdata(table["magnitude"])))


def test_maxrec_is_kept_and_told(tap: pyvo.dal.TAPService) -> None:
    cut = tap.search("SELECT star FROM hipparcos.main", maxrec=17)
    assert (len(cut), cut.status[0]) == (17, "OVERFLOW")
    with pytest.warns(DALOverflowWarning):  # it warns of limits that the reader did not set
        cut.check_overflow_warning(client_set_maxrec=18)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(tap.search("SELECT TOP 17 star FROM hipparcos.main")) == 17


def test_errors_are_our_words(tap: pyvo.dal.TAPService) -> None:
    with pytest.raises(
        DALQueryError, match=re.escape("line 1, column 8: no column 'vmagg' in hipparcos.main; did you mean 'vmag'?")
    ):
        tap.search("SELECT vmagg FROM hipparcos.main")
    with pytest.raises(DALQueryError, match="line 1, column"):
        tap.search("SELECT FROM WHERE")


def test_cone_search(server: Server) -> None:
    service = pyvo.dal.SCSService(f"{server.url}/cone/hipparcos.main")
    centre = SkyCoord(83.63 * u.deg, 22.01 * u.deg)
    found = service.search(centre, 2 * u.deg, verbosity=3)
    table = found.to_table()
    assert {"star", "pm_ra", "b_v"} <= set(table.colnames)
    assert "b_v" not in service.search(centre, 2 * u.deg, verbosity=1).to_table().colnames
    empty = service.search(centre, 0 * u.deg)
    assert len(empty) == 0
    assert "star" in empty.fieldnames
    assert np.all(SkyCoord(table["ra"], table["dec"], unit="deg").separation(centre) <= 2 * u.deg)


def test_cone_search_says_what_is_wrong(server: Server) -> None:
    with pytest.raises((DALQueryError, DALServiceError), match="SR"):
        pyvo.dal.SCSService(f"{server.url}/cone/hipparcos.main").search((10, 10), -1)


def test_vosi_documents_are_parsed_by_the_letter(server: Server) -> None:
    for path, parse in (
        ("tables", vosi.parse_tables),
        ("capabilities", vosi.parse_capabilities),
        ("availability", vosi.parse_availability),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parse(io.BytesIO(server.get(f"/tap/{path}")[2]), pedantic=True)


# --- the same questions, answered by numpy over the catalogue's own text file ----------------------------------


@pytest.fixture(scope="module")
def stars(server: Server) -> dict[str, np.ndarray]:
    """Read the file as its header describes it; nothing of Hven has a part in it."""
    lines = [
        line
        for line in (server.site / "collections/hipparcos/stars.dat").read_text().splitlines()
        if not line.startswith("#")
    ]

    def number(first: int, last: int, kind: type = float) -> np.ndarray:
        return np.array([kind(line[first:last].strip() or "nan") for line in lines])

    text = {
        name: np.array([line[first:last].strip() for line in lines])
        for name, (first, last) in {"sp": (56, 58), "name": (83, 120)}.items()
    }
    sign = np.array([-1.0 if line[10] == "-" else 1.0 for line in lines])
    return {
        "star": np.arange(1, len(lines) + 1),
        "ra": 15 * (number(0, 2) + number(2, 4) / 60 + number(4, 9) / 3600),
        "dec": sign * (number(11, 13) + number(13, 15) / 60 + number(15, 19) / 3600),
        "plx": number(38, 45).astype(np.float32),
        "pm_ra": number(20, 29).astype(np.float32),
        "vmag": number(46, 51).astype(np.float32),
        "b_v": number(51, 56).astype(np.float32),
        **text,
    }


def is_in_cone(stars: dict[str, np.ndarray], ra: float, dec: float, radius: float) -> np.ndarray:
    away = angular_separation(*np.radians([stars["ra"], stars["dec"]]), *np.radians([ra, dec]))
    return np.degrees(away) <= radius


def bins(stars: dict[str, np.ndarray]) -> list[tuple[float, int]]:
    values, counts = np.unique(np.floor(stars["vmag"][stars["vmag"] < 6]), return_counts=True)
    return list(zip(values, counts, strict=True))


def pairs(stars: dict[str, np.ndarray]) -> int:
    near = np.flatnonzero(is_in_cone(stars, 56.75, 24.1, 2))  # the Pleiades
    here = SkyCoord(stars["ra"][near], stars["dec"][near], unit="deg")
    return int((here[:, None].separation(here[None, :]) < 0.05 * u.deg).sum()) - len(near)


ORACLE = {
    "count": ("SELECT COUNT(*) AS n FROM hipparcos.main", lambda s: [(len(s["star"]),)]),
    "extremes": ("SELECT MIN(vmag) AS a, MAX(vmag) AS b, AVG(parallax) AS c FROM hipparcos.main", lambda s: [(s["vmag"].min(), s["vmag"].max(), s["plx"].mean(dtype=float))]),
    "where": ("SELECT COUNT(*) AS n FROM hipparcos.main WHERE vmag < 5 AND b_v BETWEEN 0.5 AND 1.5", lambda s: [(int(((s["vmag"] < 5) & (s["b_v"] >= np.float32(0.5)) & (s["b_v"] <= np.float32(1.5))).sum()),)]),
    "brightest": ("SELECT TOP 10 star FROM hipparcos.main ORDER BY vmag, star", lambda s: [(int(n),) for n in s["star"][np.lexsort((s["star"], s["vmag"]))[:10]]]),
    "offset": ("SELECT TOP 5 star FROM hipparcos.main ORDER BY dec DESC, star OFFSET 5", lambda s: [(int(n),) for n in s["star"][np.lexsort((s["star"], -s["dec"]))[5:10]]]),
    "histogram": ("SELECT FLOOR(vmag) AS bin, COUNT(*) AS n FROM hipparcos.main WHERE vmag < 6 GROUP BY FLOOR(vmag) ORDER BY bin", bins),
    "having": ("SELECT sp_type, COUNT(*) AS n FROM hipparcos.main WHERE sp_type IS NOT NULL GROUP BY sp_type HAVING COUNT(*) > 3000 ORDER BY sp_type", lambda s: [(k, n) for k, n in zip(*np.unique(s["sp"][s["sp"] != ""], return_counts=True), strict=True) if n > 3000]),
    "cone": ("SELECT star FROM hipparcos.main WHERE DISTANCE(POINT(ra, dec), POINT(0.5, 0.5)) <= 3 ORDER BY star", lambda s: [(int(n),) for n in s["star"][is_in_cone(s, 0.5, 0.5, 3)]]),
    "pole": ("SELECT COUNT(*) AS n FROM hipparcos.main WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 10, 89.5, 2))", lambda s: [(int(is_in_cone(s, 10, 89.5, 2).sum()),)]),
    "outside a cone": ("SELECT COUNT(*) AS n FROM hipparcos.main WHERE 0 = CONTAINS(POINT(ra, dec), CIRCLE(180, 0, 60))", lambda s: [(int((~is_in_cone(s, 180, 0, 60)).sum()),)]),
    "distance": ("SELECT star, DISTANCE(ra, dec, 83.63, 22.01) AS d FROM hipparcos.main WHERE star <= 5 ORDER BY star", lambda s: [(n, np.degrees(angular_separation(*np.radians([s["ra"][n - 1], s["dec"][n - 1], 83.63, 22.01])))) for n in range(1, 6)]),
    "cross-match": ("SELECT COUNT(*) AS n FROM hipparcos.main AS a JOIN hipparcos.main AS b ON 1 = CONTAINS(POINT(a.ra, a.dec), CIRCLE(b.ra, b.dec, 0.05)) WHERE a.star <> b.star AND 1 = CONTAINS(POINT(a.ra, a.dec), CIRCLE(56.75, 24.1, 2)) AND 1 = CONTAINS(POINT(b.ra, b.dec), CIRCLE(56.75, 24.1, 2))", lambda s: [(pairs(s),)]),
    "text": ("SELECT name FROM hipparcos.main WHERE LOWER(name) LIKE 'al%r' ORDER BY name", lambda s: [(str(n),) for n in sorted(s["name"]) if re.fullmatch(r"al.*r", n.lower())]),
    "subquery": ("SELECT COUNT(*) AS n FROM hipparcos.main WHERE parallax > (SELECT 10 * AVG(parallax) FROM hipparcos.main)", lambda s: [(int((s["plx"] > 10 * s["plx"].mean(dtype=float)).sum()),)]),
    "arithmetic": ("SELECT TOP 4 star, vmag + 5 * LOG10(parallax / 100) AS abs_mag FROM hipparcos.main WHERE parallax > 300 ORDER BY star", lambda s: [(int(n), float(s["vmag"][n - 1]) + 5 * np.log10(float(s["plx"][n - 1]) / 100)) for n in s["star"][s["plx"] > 300][:4]]),
    "union": ("SELECT star FROM hipparcos.main WHERE vmag < 0 UNION SELECT star FROM hipparcos.main WHERE parallax > 500 ORDER BY star", lambda s: [(int(n),) for n in s["star"][(s["vmag"] < 0) | (s["plx"] > 500)]]),
    "with": ("WITH near AS (SELECT star, parallax FROM hipparcos.main WHERE parallax > 200) SELECT COUNT(*) AS n, MAX(parallax) AS p FROM near", lambda s: [(int((s["plx"] > 200).sum()), s["plx"].max())]),
    "case": ("SELECT SUM(CASE WHEN pm_ra > 0 THEN 1 ELSE 0 END) AS n FROM hipparcos.main", lambda s: [(int((s["pm_ra"] > 0).sum()),)]),
}  # fmt: skip


@pytest.mark.parametrize("name", ORACLE)
def test_answers_are_those_of_numpy_and_astropy(
    tap: pyvo.dal.TAPService, stars: dict[str, np.ndarray], name: str
) -> None:
    query, oracle = ORACLE[name]
    expected = oracle(stars)
    found = [tuple(row) for row in tap.search(query).to_table().iterrows()]
    assert len(found) == len(expected) > 0
    for theirs, ours in zip(found, expected, strict=True):
        for value, right in zip(theirs, ours, strict=True):
            assert value == (right if isinstance(right, str) else pytest.approx(right, rel=1e-6, abs=1e-12))
