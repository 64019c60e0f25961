"""SITools2 and ERDDAP are surveyed by their own interfaces, and their rows come whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from old_services import ErddapServer, SitoolsServer, build_new_site

from hven.model.settings import load_settings
from hven.plugins.service_migration import comparison_queries, service_drafts
from hven.plugins.service_migration.comparison_queries import QueryGenerator
from hven.plugins.service_migration.service_survey import ServiceSurvey, SurveyedTable, build_migration_directory
from json_servers import JsonServer, Reply, Request, serve
from plugin_needs import require_plugins
from process_runner import run_hven, serve_site


def read_report(site: Path, url: str) -> str:
    return " ".join((build_migration_directory(site, url) / "report.txt").read_text().split())


def test_a_data_set_of_sitools2_moves_with_its_address(tmp_path: Path) -> None:
    require_plugins("sources", "rest")
    require_plugins("protocols", "endpoints")
    site = build_new_site(tmp_path / "site")
    with serve(SitoolsServer()) as url:
        run_hven("--site", site, "migrate", url)
        table = yaml.safe_load((site / "collections/sdo/sdo.yaml").read_text())["tables"]["webs_aia_dataset"]
        assert table["endpoints"]["old"] == {"path": "/webs_aia_dataset", "like": "sitools2", "title": "AIA images"}
        assert table["columns"]["wavelnth"] == {"type": "int32", "unit": "Angstrom"}
        assert table["description"] == "Images of the Sun"
        assert "the column secret is hidden from clients" in read_report(site, url)
        run_hven("--site", site, "ingest", "sdo")
    rows = run_hven(
        "--site", site, "query", 'SELECT COUNT(*) AS n, MAX(recnum) AS m, COUNT("get") AS g FROM sdo.webs_aia_dataset', "--format", "csv"
    )  # fmt: skip
    assert "700,699,140" in rows.stdout


@pytest.mark.parametrize("record_count", [120, 700])
def test_answers_of_sitools2_are_compared(tmp_path: Path, record_count: int) -> None:
    require_plugins("sources", "rest")
    require_plugins("protocols", "endpoints")
    site = build_new_site(tmp_path / "site")
    with serve(SitoolsServer(record_count=record_count)) as url:
        run_hven("--site", site, "migrate", url)
        run_hven("--site", site, "ingest", "sdo")
        words = ["--site", site, "migrate", url, "--queries", 40, "--rate", 100, "--prove"]
        with serve_site(site) as new_server:
            proof = run_hven(*words, new_server.url)
            assert "40 different requests, 0 with different answers" in proof.stdout
        path = site / "collections/sdo/sdo.yaml"
        path.write_text(path.read_text().replace("    columns:", "    where: recnum <> 77\n    columns:", 1))
        run_hven("--site", site, "ingest", "sdo")
        with serve_site(site) as new_server:
            proof = run_hven(*words, new_server.url, "--json", expected_code=1)
    totals = [item for item in json.loads(proof.stdout)["requests"] if item["target"].endswith("/count?media=json")]
    assert [item["difference"] for item in totals] == [f"a total of {record_count - 1} instead of {record_count}"]


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (
            SitoolsServer(stated_count=2000, record_count=120),
            "/count states 2,000 rows, but the first page has 120 rows",
        ),
        (
            SitoolsServer(
                alter_reply=lambda asked, reply: (
                    setattr(reply, "body", reply.body.replace(b'"wavelnth": 171', b'"wave": 171'))
                    if asked.path.endswith("/records")
                    else None
                )
            ),
            "records have the columns wave, which the data set does not list",
        ),
    ],
)
def test_a_data_set_that_contradicts_itself_is_reported(tmp_path: Path, server: SitoolsServer, message: str) -> None:
    site = build_new_site(tmp_path / "site")
    with serve(server) as url:
        run_hven("--site", site, "migrate", url)
        assert message in read_report(site, url)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/sitools/sdo/datasets", b'{"data": ["x"]}', "the project SDO was not read: `data` is not a list of objects"),
        ("/webs_aia_dataset", b'{"dataset": {"columnModel": ["x"]}}', "`columnModel` is not a list of objects"),
        ("/webs_aia_dataset", b'{"dataset": {"columnModel": 7}}', "`columnModel` is not a list of objects"),
    ],
)
def test_texts_instead_of_objects_are_refused_in_words(tmp_path: Path, path: str, body: bytes, message: str) -> None:
    def change(asked: Request, reply: Reply) -> None:
        if asked.path == path:
            reply.body = body

    site = build_new_site(tmp_path / "site")
    with serve(SitoolsServer(alter_reply=change)) as url:
        settings = load_settings(site)
        survey = service_drafts.inspect_service(settings, url)
    texts = [*survey.problems, *(table.failure for table in survey.tables.values())]
    assert message in texts


def test_a_column_whose_renderer_is_a_text_stays_hidden(tmp_path: Path) -> None:
    def change(asked: Request, reply: Reply) -> None:
        reply.body = reply.body.replace(b'{"behavior": "noClientAccess"}', b'"noClientAccess"')

    site = build_new_site(tmp_path / "site")
    with serve(SitoolsServer(alter_reply=change)) as url:
        survey = service_drafts.inspect_service(load_settings(site), url)
    table = survey.tables["/webs_aia_dataset"]
    assert not table.failure
    assert "secret" not in table.columns


def test_a_table_whose_columns_have_no_names_of_adql_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueryGenerator, "_read_samples", lambda _self, _table: {})
    monkeypatch.setattr(comparison_queries, "MAX_ROUNDS", 50)
    table = SurveyedTable(
        name="a.b", schema="a", local_name="b", columns={"": {"type": "string"}}, source={"kind": "tap"}
    )
    survey = ServiceSurvey(url="http://127.0.0.1:9/tap", tables={"a.b": table})
    context = service_drafts.create_source_context(load_settings(build_new_site(tmp_path / "site")))
    drawn = QueryGenerator(survey, {"a": "a"}, context).draw_requests(10)
    assert len(drawn.requests) == 1


def test_a_data_set_without_columns_is_no_table(tmp_path: Path) -> None:
    def drop_columns(asked: Request, reply: Reply) -> None:
        if asked.path == "/webs_aia_dataset":
            reply.body = b'{"success": true, "dataset": {"name": "x"}}'

    site = build_new_site(tmp_path / "site")
    with serve(SitoolsServer(alter_reply=drop_columns)) as url:
        failed = run_hven("--site", site, "migrate", url, expected_code=1)
    assert "lists no columns" in failed.stderr
    assert not list((site / "collections").glob("*/*.yaml"))


@pytest.mark.parametrize(
    ("server", "address_path", "failing_path", "descriptor"),
    [
        (SitoolsServer(), "", "/webs_aia_dataset/count", "sdo/sdo.yaml"),
        (ErddapServer(), "/erddap", "/erddap/info/buoys/index.json", "buoys/buoys.yaml"),
    ],
)
def test_a_table_that_could_not_be_read_is_asked_about_again(
    tmp_path: Path, server: JsonServer, address_path: str, failing_path: str, descriptor: str
) -> None:
    def fail(asked: Request, reply: Reply) -> None:
        if asked.path == failing_path:
            reply.status = 403

    site = build_new_site(tmp_path / "site")
    server.alter_reply = fail
    with serve(server) as url:
        failed = run_hven("--site", site, "migrate", f"{url}{address_path}", expected_code=1)
        assert "returned status 403" in failed.stderr
        server.alter_reply = lambda _asked, _reply: None
        run_hven("--site", site, "migrate", f"{url}{address_path}")
    assert (site / "collections" / descriptor).is_file()


def test_a_table_of_erddap_moves_and_a_grid_is_left_out(tmp_path: Path) -> None:
    site = build_new_site(tmp_path / "site")
    with serve(ErddapServer()) as url:
        run_hven("--site", site, "migrate", f"{url}/erddap")
        assert "the table sst cannot be read: it is a grid" in read_report(site, f"{url}/erddap")
    columns = yaml.safe_load((site / "collections/buoys/buoys.yaml").read_text())["tables"]["main"]["columns"]
    assert columns["sea_temp"] == {"type": "float32", "description": "Temperature of the water [degC]"}
    assert columns["time"]["type"] == "timestamp"
    run_hven("--site", site, "ingest", "buoys")
    rows = run_hven("--site", site, "query", "SELECT sea_temp FROM buoys.main ORDER BY sea_temp", "--format", "csv")
    assert rows.stdout.split() == ["sea_temp", "11.5", "12.25"]


def add_tides(asked: Request, reply: Reply) -> None:
    """Add a data set before the others, whose rows cannot be downloaded."""
    if asked.path == "/erddap/info/index.json":
        reply.body = reply.body.replace(b'"rows": [', b'"rows": [["", "x", "Tides", "tides"], ')
    elif asked.path == "/erddap/info/tides/index.json":
        reply.status, reply.body = 200, ErddapServer().reply(replace(asked, path="/erddap/info/buoys/index.json")).body


def test_a_data_set_of_erddap_without_rows_does_not_stop_the_others(tmp_path: Path) -> None:
    site = build_new_site(tmp_path / "site")
    server = ErddapServer(alter_reply=add_tides)
    with serve(server) as url:
        run_hven("--site", site, "migrate", f"{url}/erddap")
        assert "the table tides cannot be read" in read_report(site, f"{url}/erddap")
        assert [path.name for path in (site / "collections").glob("*/*.yaml")] == ["buoys.yaml"]

        def repair(asked: Request, reply: Reply) -> None:
            add_tides(asked, reply)
            if asked.path == "/erddap/tabledap/tides.csv":
                reply.status, reply.body = 200, b"time,sea_temp\nUTC,degC\n2020-01-01T00:00:00Z,11.5\n"

        server.alter_reply = repair
        run_hven("--site", site, "migrate", f"{url}/erddap")
    assert (site / "collections/tides/tides.yaml").is_file()


@pytest.mark.parametrize(
    ("server", "address_path", "pattern", "count"),
    [
        (ErddapServer(alter_reply=add_tides), "/erddap", "BUOY*", 1),
        (ErddapServer(), "/erddap", "none", 0),
        (SitoolsServer(), "", "*aia_dataset", 1),
        (SitoolsServer(), "", "none", 0),
    ],
)
def test_only_the_chosen_data_sets_move(
    tmp_path: Path, server: JsonServer, address_path: str, pattern: str, count: int
) -> None:
    site = build_new_site(tmp_path / "site")
    with serve(server) as url:
        done = run_hven(
            "--site", site, "migrate", f"{url}{address_path}", "--table", pattern, expected_code=int(not count)
        )
    assert count or "it lists no table named none" in done.stderr
    assert len(list((site / "collections").glob("*/*.yaml"))) == count
    assert not any("tides" in asked.path for asked in server.asked)
