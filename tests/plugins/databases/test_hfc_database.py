"""The HELIO Feature Catalogue as its database is: HFC's tables and view in MariaDB, with CHARM's coronal holes, read by its protocol and by ODBC."""

from __future__ import annotations

import csv
import gzip
import io

import mariadb_server
import pytest

from hven.plugins.databases import source as sql
from hven.sources import SourceContext
from process_runner import run_hven
from shared import shared

pytestmark = [pytest.mark.outside, pytest.mark.xdist_group("mariadb")]

CORNERS = [
    f"BR_{axis}{corner}_PIX int DEFAULT NULL COMMENT 'Corner {corner} of the bounding box'"
    for corner in range(4)
    for axis in "XY"
]
TABLES = [
    """CREATE TABLE OBSERVATIONS (ID_OBSERVATIONS int NOT NULL PRIMARY KEY, OBSERVATORY_ID int, DATE_OBS datetime NOT NULL, DATE_END datetime, JDINT int,
        JDFRAC double, C_ROTATION int, NAXIS1 int, NAXIS2 int, R_SUN double, CENTER_X double, CENTER_Y double, CDELT1 double, CDELT2 double, FILENAME varchar(100),
        URL varchar(200)) ENGINE=MyISAM DEFAULT CHARSET=utf8""",
    f"""CREATE TABLE CORONALHOLES (ID_CORONALHOLES int NOT NULL PRIMARY KEY, CHGROUPS_ID int, OBSERVATIONS_ID_EIT int, FEAT_DATE datetime, FEAT_THRESHOLD double,
        {", ".join(CORNERS)}, FEAT_AREA_PIX int, FEAT_MEAN_BZ double, CC_X_PIX int, CC_Y_PIX int COMMENT 'Start of the chain code, y', CC longtext COMMENT 'Chain code',
        CC_LENGTH int, RUN_DATE datetime) ENGINE=MyISAM DEFAULT CHARSET=latin1""",
    """CREATE DEFINER = 'root'@'localhost' SQL SECURITY DEFINER VIEW VIEW_CH_HQI AS SELECT o.DATE_OBS, o.JDINT, o.JDFRAC, o.R_SUN, o.CDELT1, h.ID_CORONALHOLES,
        h.FEAT_AREA_PIX, h.FEAT_MEAN_BZ, h.CC_X_PIX FROM CORONALHOLES h JOIN OBSERVATIONS o ON h.OBSERVATIONS_ID_EIT = o.ID_OBSERVATIONS""",
]
JOIN = "SELECT * FROM VIEW_CH_HQI JOIN CORONALHOLES ON VIEW_CH_HQI.ID_CORONALHOLES = CORONALHOLES.ID_CORONALHOLES"


def table(name):
    text = gzip.decompress(shared(f"data/helio/hfc/charm/{name}.csv.gz").read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(text.removeprefix("#")), delimiter=";"))


@pytest.fixture(scope="module")
def charm():
    """Fill the database; give its server and the holes with their observations."""
    observed = {row["ID"]: row for row in table("ch_observation")}
    holes = [(row, observed[row["EIT_FILE"]]) for row in table("ch_results") if row["EIT_FILE"] in observed]
    maria = mariadb_server.get_server()
    quoted, said = maria.format_literal, []
    maria.execute("CREATE DATABASE IF NOT EXISTS test", *TABLES, database="test")
    for row in observed.values():
        values = [row[name] for name in ("ID", "OBSERVATORY_ID")] + [
            row["DATE_OBS"][:19].replace("T", " "),
            "0000-00-00",
        ]
        values += (
            [str(int(float(row["JDINT"])))] + [row[name] for name in ("JDFRAC",)] + [str(int(float(row["C_ROTATION"])))]
        )
        values += [
            row[name]
            for name in (
                "NAXIS1",
                "NAXIS2",
                "R_SUN",
                "CENTER_X",
                "CENTER_Y",
                "CDELT1",
                "CDELT2",
                "FILENAME",
                "LOC_FILENAME",
            )
        ]
        said.append(f"INSERT INTO OBSERVATIONS VALUES ({', '.join(map(quoted, values))})")
    for row, image in holes:
        x, y = row["CC_PIX_XY"].split(",")
        values = [
            row["ID"],
            row["CHG_NUM"],
            image["ID"],
            row["OBS_DATE"][:19].replace("T", " "),
            row["CH_THRESH"],
            *range(8),
            row["CH_NPIX"],
            row["CH_MEAN_BZ"],
        ]
        values += [
            str(int(x)),
            str(int(y)),
            row["CHAIN_CODE"],
            row["CC_LENGTH"],
            row["RUN_DATE"][:19].replace("T", " "),
        ]
        said.append(f"INSERT INTO CORONALHOLES VALUES ({', '.join(map(quoted, values))})")
    maria.execute(*said, database="test")
    return maria, holes


@pytest.mark.parametrize("road", ["protocol", "odbc"])
def test_a_view_joined_with_its_table_keeps_all_columns(charm, road):
    """Each hole has its own chain code, both columns of one name are there, and no digit of a date is lost."""
    maria, holes = charm
    url = maria.url if road == "protocol" else mariadb_server.format_odbc_line(maria)
    source = sql.open(sql.Options(url="$HFC", query=JOIN), SourceContext(resolve_secret=lambda _: url))
    names = [column.name for column in source.list_columns()]
    assert [name for name in names if name.endswith("_2")] == [
        "ID_CORONALHOLES_2", "FEAT_AREA_PIX_2", "FEAT_MEAN_BZ_2", "CC_X_PIX_2",
    ]  # fmt: skip
    found = {row["ID_CORONALHOLES"]: row for batch in source.read_batches() for row in batch.to_pylist()}
    assert len(found) == len(holes) > 1000
    for hole, image in holes:
        row = found[int(hole["ID"])]
        assert row["CC"] == hole["CHAIN_CODE"]
        assert (row["ID_CORONALHOLES_2"], row["CC_X_PIX_2"]) == (row["ID_CORONALHOLES"], row["CC_X_PIX"])
        assert (row["JDINT"], row["JDFRAC"]) == (int(float(image["JDINT"])), float(image["JDFRAC"]))
        assert row["FEAT_MEAN_BZ_2"] == float(hole["CH_MEAN_BZ"])
    if road == "protocol":
        assert {column.name: column.description for column in source.list_columns()}["CC"] == "Chain code"


def test_the_view_of_the_hfc_database_is_published(charm, tmp_path):
    maria, holes = charm
    site = tmp_path / "site"
    run_hven("init", site)
    place = site / "collections/holes"
    place.mkdir(parents=True)
    (place / "holes.yaml").write_text(
        "collection: holes\ntitle: Coronal holes\ntables:\n  main:\n    primary: id\n"
        f"    source: {{kind: sql, url: $HFC, query: '{JOIN}'}}\n"
        "    columns: {id: int32, jd: {type: float64, unit: d}, pixels: int32, code: string}\n"
        "    map: {id: id_coronalholes, jd: jdint + jdfrac, pixels: feat_area_pix_2, code: cc}\n"
    )
    run_hven("--site", site, "check", "holes", HFC=maria.url)
    run_hven("--site", site, "ingest", "holes", HFC=maria.url)
    asked = "SELECT id, jd, pixels FROM holes.main ORDER BY id"
    lines = run_hven("--site", site, "query", "--format", "csv", asked).stdout.split()[1:]
    expected = sorted(
        (int(row["ID"]), float(image["JDINT"]) + float(image["JDFRAC"]), int(row["CH_NPIX"])) for row, image in holes
    )
    assert [(int(a), float(b), int(c)) for a, b, c in (line.split(",") for line in lines)] == expected
