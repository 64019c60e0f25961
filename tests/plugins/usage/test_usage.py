"""What is used is counted as COUNTER has it: actions once, sessions, robots apart, nothing of anybody kept; the report for those who curate it."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from asgi_client import Client

from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins, settings
from hven.model.errors import ParamError, StorageError
from hven.plugins.usage import usage_reports
from hven.plugins.usage.usage_counter import UsageCounter, classify_user_agent
from hven.plugins.usage.usage_records import COUNT_COLUMNS, UsageCountStore, UsageKey
from hven.plugins.usage.usage_sessions import MAX_CLICKS, UsageSessions
from hven.services.face import ServiceContext, load_service_faces
from hven.site import AnsweredRequest, RequestUsage, Site, reserve_request_observer_memory
from hven.site.auth import OWNER_PRINCIPAL
from plugin_needs import require_plugins

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PYVO = "pyVO/1.7 python-requests/2.32"
TOML = """\
name = "used"
title = "Uraniborg"
public_url = "https://uraniborg.example"
[projects.hesiod]
title = "HESIOD"
[health]
operators = ["olga"]
[portals.side]
path = "/side"
collections = ["stars"]
administrators = ["paul"]
"""
STARS = """\
collection: stars
title: Stars, a catalogue
doi: 10.1234/stars
creators: [{name: Sophie Brahe}]
created: 2024-05-06
files: ["*.txt"]
tables:
  main:
    primary: [id]
    source: {kind: csv, files: a.csv}
    columns: {id: {type: int32, ucd: meta.id;meta.main}, ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}, dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
  other:
    primary: [id]
    source: {kind: csv, files: a.csv}
    columns: {id: {type: int32, ucd: meta.id;meta.main}}
"""
SECRET = """\
collection: secret
title: Secret spectra
access: private
project: hesiod
tables:
  main:
    primary: [id]
    source: {kind: csv, files: a.csv}
    columns: {id: {type: int32, ucd: meta.id;meta.main}}
"""
ROWS = "id,ra,dec\n1,10,20\n2,11,21\n3,12,22\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("used") / "site"
    for name, text in {"stars": STARS, "secret": SECRET}.items():
        (made / "collections" / name).mkdir(parents=True)
        (made / "collections" / name / f"{name}.yaml").write_text(text)
        (made / "collections" / name / "a.csv").write_text(ROWS)
        (made / "collections" / name / "one.txt").write_text("12345")
    (made / "hven.toml").write_text(TOML)
    with Site(settings.load_settings(made)) as site:
        for name in ("stars", "secret"):
            ingest_collection(site, name)
    return made


@pytest.fixture
def site(root: Path) -> Iterator[Site]:
    with Site(settings.load_settings(root)) as made:
        with made.store._database.begin_write() as connection:
            connection.execute(sa.text("DELETE FROM uses"))
        yield made


@pytest.fixture
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def request_status(client: Client, path: str, agent: str = FIREFOX, method: str = "GET", body: bytes = b"", **headers: str) -> int:  # fmt: skip
    form = {"content-type": "application/x-www-form-urlencoded"} if body else {}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    found = client.ask(method, path, path.partition("?")[2].encode(), body, {"user-agent": agent, **form, **more})
    return found.status


def tap(query: str) -> str:
    return f"/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY={quote(query)}"


def get_counter(site: Site) -> UsageCounter:
    return site.get_or_create(UsageCounter, site)


def get_count_store(site: Site) -> UsageCountStore:
    return site.store.get_or_create(UsageCountStore)


def sums(site: Site) -> dict[tuple[str, ...], dict[str, int]]:
    """Return what was counted, without the month."""
    get_counter(site).count_pending_requests()
    get_counter(site).write_sums()
    return {
        tuple(one[1:]): dict(zip(COUNT_COLUMNS, values, strict=True))
        for one, values in get_count_store(site).read_usage_sums().items()
    }


def report(site: Site, *args: str, **more: object) -> usage_reports.UsageReport:
    return usage_reports.read_usage_report(build_context(site), *args, **more)  # type: ignore[arg-type]


def build_context(site: Site) -> ServiceContext:
    return replace(ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), faces=load_service_faces())


def test_rows_are_counted_by_table_service_and_kind_of_user(site: Site, client: Client) -> None:
    assert request_status(client, tap("SELECT TOP 2 id FROM stars.main")) == 200
    assert request_status(client, tap("SELECT id FROM stars.main"), PYVO) == 200
    assert request_status(client, "/cone/stars.main?RA=10&DEC=20&SR=1", PYVO) == 200
    assert request_status(client, tap("SELECT m.id FROM stars.main AS m JOIN stars.other AS o ON m.id = o.id WHERE m.id > 1"), PYVO) == 200  # fmt: skip
    found = sums(site)
    whole = found["stars", "", "", "regular"]
    assert (whole["investigations"], whole["requests"], whole["unique_investigations"], whole["unique_requests"], whole["rows"]) == (1, 1, 1, 1, 2)  # fmt: skip
    machine = found["stars", "", "", "machine"]
    assert (machine["investigations"], machine["requests"], machine["unique_requests"]) == (3, 3, 1), "one session"
    assert machine["rows"] == 3 + 1 + 2
    assert found["stars", "main", "tap", "machine"]["rows"] == 3 + 2
    assert found["stars", "other", "tap", "machine"]["requests"] == 1
    assert found["stars", "main", "cone", "machine"]["rows"] == 1
    assert found["stars", "", "tap", "machine"]["bytes"] > 0
    assert all(key[0] in {"", "stars"} for key in found)


def test_pages_count_as_investigations_and_script_requests_do_not(site: Site, client: Client) -> None:
    assert request_status(client, "/collections/stars", sec_fetch_dest="document") == 200
    assert request_status(client, "/collections/stars/main", sec_fetch_dest="document") == 200
    assert (
        request_status(client, "/collections/stars/main?n=20", sec_fetch_dest="empty") == 200
    )  # a script of that page
    assert request_status(client, "/collections/stars/main/strip", sec_fetch_dest="empty") in {200, 404}
    found = sums(site)
    whole = found["stars", "", "", "regular"]
    assert (whole["investigations"], whole["requests"], whole["unique_investigations"], whole["unique_requests"]) == (2, 0, 1, 0)  # fmt: skip
    assert found["stars", "main", "portal", "regular"]["investigations"] == 1


def test_files_are_counted_with_their_bytes(site: Site, client: Client) -> None:
    assert request_status(client, "/collections/stars/files/one.txt") == 200
    assert request_status(client, "/collections/stars/files/one.txt", PYVO, range="bytes=0-1") == 206
    assert request_status(client, "/collections/stars/files/one.txt", PYVO, method="HEAD") == 200  # which takes nothing
    assert request_status(client, "/collections/stars/files/none.txt") == 404
    found = sums(site)
    assert found["stars", "", "files", "regular"] | {"bytes": 5} == {**dict.fromkeys(COUNT_COLUMNS, 0), "investigations": 1, "requests": 1, "files": 1, "bytes": 5}  # fmt: skip
    assert found["stars", "", "files", "machine"]["bytes"] == 2


def test_files_in_an_archive_are_counted(site: Site, client: Client) -> None:
    require_plugins("protocols", "archive")
    query = quote("SELECT url FROM stars.files")
    assert request_status(client, f"/archive?LANG=ADQL&QUERY={query}&COLUMN=url", "TOPCAT/4.10") == 200
    assert sums(site)["stars", "", "archive", "machine"]["files"] == 1


def test_two_clicks_within_thirty_seconds_count_once(site: Site) -> None:
    use = RequestUsage(face="files", files_by_collection={"stars": 1})
    times = [0.0, 20.0, 45.0, 80.0]  # each within 30 s of the one before, but for the last
    for now in times:
        get_counter(site).record_request(_build_request(use, now))
    get_counter(site).record_request(_build_request(use, 81.0, user="address 5.6.7.8"))  # somebody else
    get_counter(site).record_request(
        _build_request(use, 82.0, target="/collections/stars/files/two.txt?")
    )  # something else
    whole = sums(site)["stars", "", "", "regular"]
    assert (whole["requests"], whole["unique_requests"], whole["files"]) == (4, 2, 6)


def test_a_session_lasts_an_hour_and_a_clock_set_back_still_counts(site: Site) -> None:
    use = RequestUsage(face="files", files_by_collection={"stars": 1})
    begin = 1_767_225_600.0  # 2026-01-01
    for at, now in ((begin, 0.0), (begin + 1800, 1800.0), (begin + 3600, 3600.0), (begin - 3600, 3700.0)):
        get_counter(site).record_request(_build_request(use, now, at=at))
    get_counter(site).count_pending_requests()
    get_counter(site).write_sums()
    found = {one.month: values for one, values in get_count_store(site).read_usage_sums().items() if not one.service}
    names = COUNT_COLUMNS.index("unique_requests"), COUNT_COLUMNS.index("requests")
    assert tuple(found["2026-01"][one] for one in names) == (2, 3)
    assert tuple(found["2025-12"][one] for one in names) == (1, 1)


def _build_request(use: RequestUsage, now: float, *, at: float = 1_767_225_600.0, user: str = "address 1.2.3.4", target: str = "/collections/stars/files/one.txt?") -> AnsweredRequest:  # fmt: skip
    return AnsweredRequest(use, at, 1e6 + now, "GET", target, 200, 5, lambda: user, FIREFOX, "")


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        (FIREFOX, "regular"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "robot"),
        ("Mozilla/5.0 (compatible; bingbot/2.0)", "robot"),
        # RD1 10.5: the list of robots "MUST NOT include general purpose user agents", which COUNTER's own list does
        ("curl/8.5.0", "machine"),
        ("python-requests/2.32.0", "machine"),
        ("Wget/1.21", "machine"),
        ("Java/17.0.2", "machine"),
        ("TOPCAT/4.10 Java/17", "machine"),
        ("", "machine"),
        ("stilts/3.5 (IVOA-test) Java", "robot"),
    ],
)
def test_user_agents_are_classified(agent: str, kind: str) -> None:
    assert classify_user_agent(agent) == kind


def test_robots_are_counted_separately_and_not_in_counter_reports(site: Site, client: Client) -> None:
    assert request_status(client, "/collections/stars", "Mozilla/5.0 (compatible; Googlebot/2.1)") == 200
    assert request_status(client, "/collections/stars/files/one.txt", "Mozilla/5.0 (compatible; Googlebot/2.1)") == 200
    assert sums(site)["stars", "", "", "robot"]["investigations"] == 2
    assert usage_reports.build_counter_dataset_report(report(site), build_context(site))["report-datasets"] == []


def test_what_is_nothing_of_a_collection_makes_no_lines(site: Site, client: Client) -> None:
    for path in (
        "/health",
        "/metrics",
        "/collections/nothing",
        "/nowhere",
        tap("SELECT * FROM stars.nothing"),
        "/login",
    ):
        request_status(client, path)
    request_status(client, tap("SELECT table_name FROM TAP_SCHEMA.tables"), PYVO)
    request_status(client, tap("SELECT id FROM secret.main"))
    request_status(client, "/collections/STARS/%2e%2e")
    found = sums(site)
    assert set(found) == {("", "", "tap", "machine")}, "a query of TAP_SCHEMA is of the site"
    assert found["", "", "tap", "machine"]["requests"] == 0


def test_a_service_may_leave_its_answers_uncounted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    cone = "/cone/stars.main?RA=10&DEC=20&SR=1"
    assert request_status(Client(create_and_start_application(site)), cone) == 200
    counted = sums(site)
    assert "cone" in {key[2] for key in counted}
    monkeypatch.setattr(
        plugins.load_plugin("protocols", "cone"), "FACE", replace(load_service_faces()["cone"], is_usage_counted=False)
    )
    assert request_status(Client(create_and_start_application(site)), f"{cone}&VERB=3") == 200
    assert sums(site) == counted


def test_user_tables_are_not_counted(site: Site, client: Client) -> None:
    require_plugins("protocols", "user_tables")
    token = site.store.users.add_account("olga")
    try:
        head = {"authorization": f"Bearer {token}", "content-type": "text/csv"}
        assert client.ask("PUT", "/tap/user_tables/mine", body=b"a\n1\n", headers=head).status in {200, 201}
        assert request_status(client, tap("SELECT a FROM tap_user.mine"), authorization=f"Bearer {token}") == 200
        assert not any("mine" in key or "user" in key[0] for key in sums(site))
    finally:
        site.store.users.remove_account("olga")


def test_no_personal_data_are_stored(site: Site, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    request_status(client, tap("SELECT id FROM stars.main WHERE id = 2"), x_forwarded_for="198.51.100.77")
    sums(site)
    with site.store._database.begin_read() as connection:
        every = [str(row) for row in connection.execute(sa.text("SELECT * FROM uses"))]
    assert every
    assert not any(word in row for row in every for word in ("198.51", "127.0.0.1", "Firefox", "WHERE"))
    assert not get_counter(site)._pending_requests
    # what stands for a user in memory changes with the hour, and with the server: nobody finds the address by trying all
    visits = UsageSessions()
    assert visits.hash_user("address 1.2.3.4", 5) == visits.hash_user("address 1.2.3.4", 5)
    before = visits.hash_user("address 1.2.3.4", 5)
    assert visits.hash_user("address 1.2.3.4", 6) != before
    assert visits.hash_user("address 1.2.3.4", 5) != before, "the salt of an hour is thrown away"
    assert UsageSessions().hash_user("address 1.2.3.4", 5) != visits.hash_user("address 1.2.3.4", 5)


def test_memory_of_visits_is_bounded() -> None:
    visits = UsageSessions()
    user = visits.hash_user("a", 1)
    for number in range(2 * MAX_CLICKS):
        visits.record_request_and_detect_double_click(user, str(number), float(number) / 1000)
        visits.record_action_and_detect_first(user, str(number))
    assert visits.record_request_and_detect_double_click(user, str(2 * MAX_CLICKS - 1), 2 * MAX_CLICKS / 1000), (
        "what came last is remembered"
    )


def test_server_processes_share_sessions_and_double_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVEN_SERVER_VISITS", "")
    reserve_request_observer_memory()
    one, other = UsageSessions(), UsageSessions()
    user = one.hash_user("a", 3)
    assert other.hash_user("a", 3) == user
    assert one.record_action_and_detect_first(user, "x")
    assert not other.record_action_and_detect_first(user, "x")
    assert not one.record_request_and_detect_double_click(user, "/a", 1.0)
    assert other.record_request_and_detect_double_click(user, "/a", 20.0)
    monkeypatch.setenv("HVEN_SERVER_VISITS", "/nowhere/at/all")
    assert UsageSessions().record_action_and_detect_first(1, "x")
    _, _, file = os.environ.get("HVEN_SERVER_VISITS", "").rpartition("/")
    assert file == "all"


def test_counts_are_kept_while_they_cannot_be_written(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request_status(client, "/collections/stars")
    add, failing = get_count_store(site).add_counts_and_delete_old_months, [True]

    def add_or_fail(given: object) -> None:
        if failing[0]:
            raise StorageError("the disk is full")
        add(given)  # type: ignore[arg-type]

    monkeypatch.setattr(get_count_store(site), "add_counts_and_delete_old_months", add_or_fail)
    with caplog.at_level(logging.WARNING):
        assert sums(site) == {}
        assert sums(site) == {}
    assert caplog.text.count("the disk is full") == 1
    failing[0] = False
    request_status(client, "/collections/stars/main")
    assert sums(site)["stars", "", "", "regular"]["investigations"] == 2
    request_status(client, tap("SELECT id FROM stars.main"))
    assert sums(site)["stars", "", "", "regular"]["investigations"] == 3, "added to what another process wrote"


def _put(site: Site, month: str, collection: str = "stars", access: str = "regular", requests: int = 3) -> None:
    get_count_store(site).add_counts_and_delete_old_months({UsageKey(month, collection, "", service, access): (2 * requests, requests, 2, 1, 4, 5, 6_000_000) for service in ("", "tap")})  # fmt: skip


def test_missing_future_and_earlier_months_are_reported(site: Site) -> None:
    for month in ("2026-02", "2026-04", "2031-01"):
        _put(site, month)
    found = report(site, "2026-01", "2026-04", today=date(2026, 5, 6))
    assert found.months == ["2026-01", "2026-02", "2026-03", "2026-04"]
    assert found.sum_counts_by("month")[("2026-02",)]["requests"] == 3
    told = " ".join(found.notes)
    assert "2031-01: these months are in the future" in told
    assert "counting began in 2026-02" in told
    assert "nothing was counted in 2026-03" in told
    assert "2031" not in json.dumps(usage_reports.usage_report_to_json(found)["collections"])


@pytest.mark.parametrize(("since", "until"), [("2026-13", None), ("26-01", None), ("2026-05", "2026-04"), ("x' OR 1", None), (None, "2026-00")])  # fmt: skip
def test_invalid_months_are_refused(site: Site, since: str | None, until: str | None) -> None:
    with pytest.raises(ParamError):
        usage_reports.read_usage_report(build_context(site), since, until)


def test_removed_and_renamed_collections_keep_their_counts(site: Site) -> None:
    _put(site, "2026-02", "planets")
    found = report(site, "2026-01", "2026-03", today=date(2026, 4, 1))
    assert any("planets: these collections are no longer published" in note for note in found.notes)
    dataset = usage_reports.build_counter_dataset_report(found, build_context(site))["report-datasets"][0]
    assert dataset["dataset-title"] == "planets"
    assert dataset["dataset-id"] == [{"type": "proprietary", "value": "planets"}]
    assert "uri" not in dataset


def test_months_are_kept_ten_years_and_a_wrong_clock_deletes_none(site: Site) -> None:
    for year in range(2010, 2021):
        for month in range(1, 13):
            _put(site, f"{year}-{month:02d}")
    assert len({one.month for one in get_count_store(site).read_usage_sums()}) == 120
    _put(site, "2099-01")
    assert {one.month for one in get_count_store(site).read_usage_sums()} >= {"2020-12", "2011-02", "2099-01"}


def test_the_counter_report_has_the_counted_usage(site: Site) -> None:
    _put(site, "2026-02")
    _put(site, "2026-03", access="machine", requests=7)
    _put(site, "2026-03", access="robot", requests=900)
    found = usage_reports.build_counter_dataset_report(
        report(site, "2026-02", "2026-03", today=date(2026, 3, 20)), build_context(site)
    )
    head = found["report-header"]
    assert (head["report-name"], head["report-id"], head["release"]) == ("dataset report", "DSR", "rd1")
    assert head["reporting-period"] == {"begin-date": "2026-02-01", "end-date": "2026-03-20"}, (
        "a month that is not over"
    )
    (dataset,) = found["report-datasets"]
    assert dataset["dataset-id"] == [{"type": "doi", "value": "10.1234/stars"}]
    assert (dataset["yop"], dataset["uri"]) == ("2024", "https://uraniborg.example/collections/stars")
    first, second = dataset["performance"]
    assert first["period"] == {"begin-date": "2026-02-01", "end-date": "2026-02-28"}
    assert {(one["metric-type"], one["access-method"]): one["count"] for one in first["instance"]} == {
        ("total-dataset-investigations", "regular"): 6, ("total-dataset-requests", "regular"): 3,
        ("unique-dataset-investigations", "regular"): 2, ("unique-dataset-requests", "regular"): 1,
    }  # fmt: skip
    assert {one["access-method"] for one in second["instance"]} == {"machine"}


def test_the_counter_report_is_written_as_tsv(site: Site) -> None:
    _put(site, "2026-02")
    rows = list(csv.reader(io.StringIO(usage_reports.write_counter_report_tsv(report(site, "2026-01", "2026-03", today=date(2026, 4, 2)), build_context(site))), delimiter="\t"))  # fmt: skip
    assert [row[0] for row in rows[:10]] == ["Report_Name", "Report_ID", "Release", "Metric_Types", "Report_Filters", "Report_Attributes", "Exceptions", "Reporting_Period", "Created", "Created_By"]  # fmt: skip
    assert rows[0][1] == "Dataset Master Report"
    assert rows[6][1].startswith("3040: Partial Data Returned (")
    assert rows[7][1] == "begin_date=2026-01-01; end_date=2026-03-31"
    assert rows[10] == []
    assert rows[11][-3:] == ["Jan-2026", "Feb-2026", "Mar-2026"]
    lines = [dict(zip(rows[11], row, strict=True)) for row in rows[12:]]
    assert len(lines) == 4, "rows of zeros are left out"
    assert {one["Metric_Type"]: one["Reporting_Period_Total"] for one in lines}["Total_Dataset_Requests"] == "3"
    assert lines[0]["Jan-2026"] == "0"


def test_an_empty_report_contains_an_exception(site: Site) -> None:
    found = usage_reports.build_counter_dataset_report(
        report(site, "2026-01", "2026-02", today=date(2026, 4, 2)), build_context(site)
    )
    assert found["report-header"]["exceptions"][0]["code"] == 3030


def test_users_see_only_the_usage_of_collections_they_manage(site: Site, client: Client) -> None:
    _put(site, f"{date.today():%Y-%m}")  # noqa: DTZ011  (the page says this year)
    _put(site, f"{date.today():%Y-%m}", "secret", requests=77)  # noqa: DTZ011
    _put(site, f"{date.today():%Y-%m}", "gone", requests=55)  # noqa: DTZ011
    tokens = {name: f"Bearer {site.store.users.add_account(name)}" for name in ("olga", "paul", "cleo", "bob")}
    site.store.grants.add_grant("member", subject="cleo", object="hesiod", role="curator", actor="olga")
    try:
        seen = {}
        for name, token in tokens.items():
            answer = client.ask("GET", "/usage.json", headers={"authorization": token})
            seen[name] = set(json.loads(answer.body)["collections"]) if answer.status == 200 else answer.status
        assert seen == {"olga": {"stars", "secret", "gone"}, "paul": {"stars"}, "cleo": {"secret"}, "bob": 403}
        assert client.ask("GET", "/usage.json").status == 401
        assert client.ask("GET", "/usage/usage.csv").status == 401
        rows = client.ask("GET", "/usage/usage.csv", headers={"authorization": tokens["paul"]})
        assert "secret" not in rows.body.decode()
        assert rows.headers["cache-control"] == "private, no-store"
        page = client.ask("GET", "/usage", headers={"authorization": tokens["cleo"], "accept": "text/html"})
        assert page.status == 200
        text = page.body.decode()
        assert "Secret spectra" in text
        assert "Stars, a catalogue" not in text
        assert "requests for data <b>77</b>" in text
        assert "sessions <b>1</b>" in text
        assert client.ask("GET", "/usage?from=2026-99", b"from=2026-99", headers={"authorization": tokens["olga"]}).status == 400  # fmt: skip
        assert client.ask("GET", "/usage/passwd", headers={"authorization": tokens["olga"]}).status == 404
        for name in ("dsr.json", "dsr.tsv"):
            assert client.ask("GET", f"/usage/{name}", headers={"authorization": tokens["olga"]}).status == 200
    finally:
        for name in tokens:
            site.store.users.remove_account(name)


def test_who_must_log_in_is_shown_the_page_for_it(client: Client) -> None:
    for path in ("/usage", "/usage/usage.csv"):
        page = client.ask(
            "GET", f"{path}?from=2026-01", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        )
        assert page.status == 303
        login = f"https://uraniborg.example/login?next={path.replace('/', '%2F')}%3Ffrom%3D2026-01"
        assert page.headers["location"] == login
        assert "www-authenticate" not in page.headers, "a browser shows a box of its own for it"
    program = client.ask("GET", "/usage", headers={"accept": "application/json"})
    assert program.status == 401
    assert client.ask("GET", "/usage", headers={"accept": "*/*"}).status == 401
