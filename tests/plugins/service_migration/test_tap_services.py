"""A TAP service is surveyed, drafted, copied and compared; one that lies, hangs or sends too much is told about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
import yaml
from old_services import (
    AUTHORITY,
    MAXREC,
    STAR_COUNT,
    add_settings,
    build_new_site,
    build_old_site,
    read_settings_lines,
)

from faulty_proxy import Answer, FaultyProxy, delay_answer, redirect, replace_answer, run_proxy
from hven.model.settings import load_settings
from hven.plugins.service_migration import remote_documents, service_drafts
from hven.plugins.service_migration.service_survey import build_migration_directory, read_survey
from hven.sources import http_client
from process_runner import Server, run_hven, serve_site

COUNT_ANSWER = (
    '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
    '<INFO name="QUERY_STATUS" value="OK"/><TABLE><FIELD name="hven_rows" datatype="long"/>'
    "<DATA><TABLEDATA><TR><TD>9000</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
)


@pytest.fixture(scope="module")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("old")
    build_old_site(directory)
    with serve_site(directory) as server:
        yield server


@pytest.fixture
def proxy(old_server: Server) -> Iterator[FaultyProxy]:
    with run_proxy(old_server.port) as between:
        yield between


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return build_new_site(tmp_path / "new")


def read_report(site: Path, url: str) -> str:
    return (build_migration_directory(site, url) / "report.txt").read_text()


def test_a_service_moves_with_its_rows_identifiers_and_addresses(
    old_server: Server, site: Path, tmp_path: Path
) -> None:
    done = run_hven("--site", site, "migrate", old_server.url)
    assert "check survey" in done.stdout
    descriptor = yaml.safe_load((site / "collections/survey/survey.yaml").read_text())
    assert descriptor["title"] == "Stars of the survey"
    assert descriptor["licence"] == "CC-BY-4.0"
    assert descriptor["registry"]["id"] == "survey/q/all"
    assert {example["title"] for example in descriptor["examples"]} >= {"Bright stars"}
    table = descriptor["tables"]["stars"]
    assert table["source"] == {"kind": "tap", "url": f"{old_server.url}/tap", "table": "survey.stars", "key": "star"}
    assert table["position"] == ["ra", "dec"]
    assert table["columns"]["vmag"]["unit"] == "mag"
    report = read_report(site, old_server.url)
    lines = read_settings_lines(build_migration_directory(site, old_server.url) / "report.txt")
    assert f'authority = "{AUTHORITY}"' in lines
    assert f'tap = "ivo://{AUTHORITY}/' in lines
    assert f"the table survey.stars: 7 columns, {STAR_COUNT:,} rows" in report
    add_settings(site, lines)
    run_hven("--site", site, "check", "survey")
    run_hven("--site", site, "ingest", "survey")
    with serve_site(site) as new_server:
        assert new_server.rows("SELECT COUNT(*) AS n FROM survey.stars") == [[STAR_COUNT]], f"more than {MAXREC} rows"
        page = tmp_path / "proof.html"
        words = ["--prove", new_server.url, "--queries", 40, "--rate", 100, "--page", page]
        proof = run_hven("--site", site, "migrate", old_server.url, *words)
        assert "40 different requests, 0 with different answers" in proof.stdout
        assert "The answers are the same." in page.read_text()


def test_the_comparison_finds_each_wrong_value(old_server: Server, site: Path, tmp_path: Path) -> None:
    """The rows of the new site are altered: a value, a missing row, an additional row."""
    run_hven("--site", site, "migrate", old_server.url)
    path = site / "collections/survey/survey.yaml"
    for old, new in (("    columns:", "    where: n <> 700\n    columns:"),):
        path.write_text(path.read_text().replace(old, new, 1))
    run_hven("--site", site, "ingest", "survey")
    log = tmp_path / "access.log"
    query = "REQUEST=doQuery&LANG=ADQL&FORMAT=csv&QUERY=SELECT+vmag+FROM+survey.stars+WHERE+n=700"
    log.write_text(json.dumps({"method": "GET", "path": "/tap/sync", "query": query, "status": 200}) + "\n")
    with serve_site(site) as new_server:
        words = ["--prove", new_server.url, "--queries", 20, "--rate", 100, "--log", log, "--json"]
        proof = run_hven("--site", site, "migrate", old_server.url, *words, expected_code=1)
    requests = json.loads(proof.stdout)["requests"]
    assert len(requests) == 20
    differences = {
        unquote_plus(request["target"]).partition("QUERY=")[2]: request["difference"] for request in requests
    }
    assert differences["SELECT vmag FROM survey.stars WHERE n=700"] == "1 lines are missing, and 0 are new"
    assert differences["SELECT COUNT(*) AS n FROM survey.stars"] == "other values in the columns n"
    assert not differences["SELECT star FROM survey.stars WHERE vmag < 2"]


def test_tables_above_the_row_limit_are_compared_and_refusals_prove_nothing(
    old_server: Server, proxy: FaultyProxy, site: Path
) -> None:
    """The old service sends at most 500 of its 1,200 rows, and an answer without the others has any of them."""
    run_hven("--site", site, "migrate", proxy.url)
    survey = read_survey(build_migration_directory(site, proxy.url))
    assert survey is not None
    assert survey.row_limit == MAXREC
    run_hven("--site", site, "ingest", "survey")
    with serve_site(site) as new_server:
        words = ["--prove", new_server.url, "--queries", 120, "--rate", 100, "--seed", 3]
        proof = run_hven("--site", site, "migrate", proxy.url, *words)
        assert "120 different requests, 0 with different answers" in proof.stdout
        targets = [unquote_plus(path) for _, path, _ in proxy.requests]
        assert any("WHERE star = 'S" in target for target in targets), "whole rows are requested by the key"

        def refuse(answer: Answer) -> Answer:
            return replace_answer("no", status=400)(answer)

        proxy.default_change = refuse
        with run_proxy(new_server.port) as other_proxy:
            other_proxy.default_change = refuse
            words[1:4:2] = [other_proxy.url, 5]
            refused = run_hven("--site", site, "migrate", proxy.url, *words, expected_code=1)
    assert "5 different requests, 5 with different answers" in refused.stdout
    assert "both services refuse it (status 400)" in " ".join(refused.stdout.split())


def test_a_second_run_continues_and_changes_no_descriptor(proxy: FaultyProxy, site: Path) -> None:
    url = f"http://127.0.0.1:{proxy.port}"
    run_hven("--site", site, "migrate", url)
    path = site / "collections/survey/survey.yaml"
    path.write_text(path.read_text() + "# by hand\n")
    first_count = sum("survey.stars" in query for query in proxy.queries)
    assert first_count > 0
    proxy.requests.clear()
    run_hven("--site", site, "migrate", url)
    assert path.read_text().endswith("# by hand\n")
    assert "the collection survey exists already" in read_report(site, url)
    assert not any("COUNT" in query for query in proxy.queries), "tables that are known are not asked again"


def test_a_table_that_could_not_be_read_is_asked_about_again(proxy: FaultyProxy, site: Path) -> None:
    def fail(answer: Answer) -> Answer:
        is_of_rows = bool(proxy.queries) and "FROM survey.stars" in proxy.queries[-1]
        return replace_answer("oops", status=403)(answer) if is_of_rows else answer

    proxy.default_change = fail
    failed = run_hven("--site", site, "migrate", proxy.url, expected_code=1)
    assert "no table of" in failed.stderr
    proxy.default_change = None
    run_hven("--site", site, "migrate", proxy.url)
    assert (site / "collections/survey/survey.yaml").is_file()


def test_an_interrupted_survey_keeps_the_tables_so_far(
    proxy: FaultyProxy, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{proxy.port}"
    settings = load_settings(site)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(service_drafts, "_inspect_registry", interrupt)
    with pytest.raises(KeyboardInterrupt):
        service_drafts.inspect_service(settings, url)
    survey = read_survey(build_migration_directory(site, url))
    assert survey is not None
    assert survey.tables["survey.stars"].row_count == STAR_COUNT
    assert not (site / "collections/survey").exists()


def test_rows_can_come_from_the_database(old_server: Server, site: Path) -> None:
    run_hven("--site", site, "migrate", old_server.url, "--database", "$OLD_DATABASE")
    source = yaml.safe_load((site / "collections/survey/survey.yaml").read_text())["tables"]["stars"]["source"]
    assert source == {"kind": "sql", "url": "$OLD_DATABASE", "table": "survey.stars"}
    refused = run_hven(
        "--site", site, "migrate", old_server.url, "--database", "postgresql://me:pw@host/db", expected_code=2
    )
    assert "must be a secret" in refused.stderr
    assert "pw" not in refused.stderr


# --- a service that lies -------------------------------------------------------------------------------------------


def change_documents(pattern: str, old: str, new: str):
    """Replace a text in answers whose body has a pattern."""

    def change(answer: Answer) -> Answer:
        text = answer.body.decode("utf-8", "surrogateescape")
        if re.search(pattern, text):
            return Answer(answer.status, answer.headers, text.replace(old, new).encode("utf-8", "surrogateescape"))
        return answer

    return change


@pytest.mark.parametrize(
    ("pattern", "old", "new", "message"),
    [
        (
            "vosi:tableset|tableset",
            "<nrows>1200</nrows>",
            "<nrows>7</nrows>",
            "VOSI states 7 rows, but COUNT(*) is 1,200",
        ),
        (
            "tableset",
            "<name>vmag</name>",
            "<name>bmag</name>",
            "VOSI and the answers have different columns: bmag, vmag",
        ),
        (
            "tableset",
            "<name>survey.stars</name>",
            "<name>survey.planets</name>",
            "VOSI lists the table survey.planets, but TAP_SCHEMA does not",
        ),
    ],
)
def test_contradictions_of_documents_are_reported(
    proxy: FaultyProxy, site: Path, pattern: str, old: str, new: str, message: str
) -> None:
    proxy.default_change = change_documents(pattern, old, new)
    run_hven("--site", site, "migrate", proxy.url)
    assert message in " ".join(read_report(site, proxy.url).split())


def test_rows_that_a_service_counts_but_does_not_send_stop_the_ingest(proxy: FaultyProxy, site: Path) -> None:
    run_hven("--site", site, "migrate", proxy.url)

    def raise_count(answer: Answer) -> Answer:
        return replace_answer(COUNT_ANSWER)(answer) if "COUNT(*)" in proxy.queries[-1] else answer

    proxy.default_change = raise_count
    failed = run_hven("--site", site, "ingest", "survey", expected_code=1)
    message = " ".join((failed.stdout + failed.stderr).split())
    assert "counts 9,000 rows, but returned 1,200" in message
    assert "survey" not in json.loads(run_hven("--site", site, "status", "--json").stdout).get("published", {})


def test_pages_without_end_stop_at_the_second(proxy: FaultyProxy, site: Path) -> None:
    """A service that ignores the condition on the key sends its first page again and again."""
    run_hven("--site", site, "migrate", proxy.url)
    first_pages: list[Answer] = []

    def repeat_first_page(answer: Answer) -> Answer:
        if "ORDER BY" in proxy.queries[-1]:
            first_pages.append(answer)
            return first_pages[0]
        return answer

    proxy.default_change = repeat_first_page
    failed = run_hven("--site", site, "ingest", "survey", expected_code=1)
    assert "sends the same rows again" in " ".join((failed.stdout + failed.stderr).split())
    assert len(first_pages) <= 3


def test_a_service_that_hangs_is_given_up(proxy: FaultyProxy, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_documents, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(remote_documents, "ATTEMPT_COUNT", 1)
    proxy.default_change = delay_answer(5)
    failed = run_hven("--site", site, "migrate", proxy.url, expected_code=1)
    assert "there is no TAP service" in failed.stderr
    assert "did not respond in time" in " ".join(failed.stderr.split())
    assert not (site / "collections/survey").exists()


def test_a_huge_document_is_not_read(proxy: FaultyProxy, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_documents, "MAX_DOCUMENT_BYTES", 200_000)

    def enlarge(answer: Answer) -> Answer:
        if b"tableset" in answer.body:
            return Answer(answer.status, answer.headers, answer.body + b" " * 300_000)
        return answer

    proxy.default_change = enlarge
    run_hven("--site", site, "migrate", proxy.url)
    assert "returned more than 200,000 bytes" in " ".join(read_report(site, proxy.url).split())
    assert (site / "collections/survey/survey.yaml").exists(), "TAP_SCHEMA is enough"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (replace_answer("<html>", media="text/html"), "there is no TAP service"),
        (replace_answer("<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>"), "there is no TAP service"),
        (replace_answer("", status=404), "there is no TAP service"),
        (replace_answer("oops", status=500), "there is no TAP service"),
    ],
)
def test_what_is_no_service_is_refused(proxy: FaultyProxy, site: Path, answer: object, message: str) -> None:
    proxy.default_change = answer
    failed = run_hven("--site", site, "migrate", proxy.url, expected_code=1)
    assert message in failed.stderr
    assert "root:" not in failed.stderr
    assert not (site / "collections").exists() or not list((site / "collections").iterdir())


def test_addresses_inside_the_network_are_refused(
    proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `allow_private`, neither the service nor a redirect may lead to this machine."""
    run_hven("init", tmp_path / "site")
    refused = run_hven("--site", tmp_path / "site", "migrate", proxy.url, expected_code=1)
    assert "public internet" in refused.stderr
    assert not proxy.requests

    def is_public(address: str) -> bool:
        return address == "127.0.0.1"

    monkeypatch.setattr(http_client, "_is_public", is_public)
    proxy.default_change = redirect("http://127.0.0.2:9/tap/capabilities")
    refused = run_hven("--site", tmp_path / "site", "migrate", proxy.url, expected_code=1)
    assert "public internet" in " ".join(refused.stderr.split())


def test_wrong_uses_are_refused(old_server: Server, site: Path) -> None:
    for words, message in (
        (["ftp://old.example.org"], "is not the address of a service"),
        ([old_server.url, "--prove", "http://127.0.0.1:9", "--switch", "new"], "are different steps"),
        (["http://127.0.0.1:9", "--prove", "http://127.0.0.1:9"], "nothing is known about http://127.0.0.1:9 yet"),
    ):
        assert message in run_hven("--site", site, "migrate", *words, expected_code=2).stderr
