"""pyvo, curl and stilts keep, load, index, query and remove tables in a service of two processes; others learn nothing; the verbs of the shell."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pyvo
import requests
from astropy.table import Table

from hven.model.settings import load_settings as settings_of
from hven.site import Site
from process_runner import Server, run_hven, serve_site, wait_until
from requirements import require_program
from shared import EXAMPLES_FACTOR, shared
from stilts import run_stilts
from storage_engines import SiteEngine

pytestmark = [
    pytest.mark.outside,
    # pyvo leaves sockets open
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
ALL = "SELECT * FROM tap_user.mine"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A served site and the tokens of two accounts."""

    server: Server
    site: Path
    anna: str
    bert: str

    def session(self, token: str | None) -> requests.Session:
        session = requests.Session()
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        return session

    def service(self, token: str | None) -> pyvo.dal.TAPService:
        return pyvo.dal.TAPService(f"{self.server.url}/tap", session=self.session(token))

    def curl(self, *words: str, token: str | None = None) -> tuple[int, str]:
        given = ["-H", f"Authorization: Bearer {token}"] if token else []
        done = subprocess.run(
            [require_program("curl"), "-s", "-w", "\n%{http_code}", *given, *words],
            capture_output=True,
            check=True,
            timeout=60,
            text=True,
        )
        text, _, status = done.stdout.rpartition("\n")
        return int(status), text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, keeper: SiteEngine) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("kept")
    made = np.random.default_rng(11)
    stars = Table(
        {"name": [f"s{n}" for n in range(5000)], "ra": made.uniform(0, 360, 5000), "dec": made.uniform(-90, 90, 5000)}
    )
    stars.write(root / "stars.csv")
    site = root / "site"
    run_hven("init", site)
    keeper.write_settings(site)
    run_hven("new", "stars", "--from", root / "stars.csv", "--site", site)
    run_hven("ingest", "stars", "--site", site)
    anna, bert = (run_hven("user", "add", name, "--site", site).stdout.strip() for name in ("anna", "bert"))
    pyvo.utils.activate_features("cadc-tb-upload")
    with serve_site(site, workers=2) as server:
        yield Place(server=server, site=site, anna=anna, bert=bert)


def votable(**columns: object) -> io.BytesIO:
    file = io.BytesIO()
    Table(columns).write(file, format="votable")
    file.seek(0)
    return file


def test_a_table_through_pyvo(place: Place) -> None:
    mine = place.service(place.anna)
    mine.create_table("tap_user.mine", votable(name=["s1", "s2"], note=[1, 2]), format="VOTable")
    for _ in range(10):  # whichever process answers
        assert len(mine.search(ALL)) == 2
    mine.load_table("tap_user.mine", io.BytesIO(b"name\tnote\ns3\t3\n"), format="tsv")
    for _ in range(10):
        assert len(mine.search(ALL)) == 3
    fits = io.BytesIO()
    Table({"note": np.array([4], np.int64), "name": ["s4"]}).write(fits, format="fits")
    fits.seek(0)
    mine.load_table("mine", fits, format="FITSTable")
    joined = mine.search(
        "SELECT m.note FROM stars.main AS s JOIN tap_user.mine AS m ON s.name = m.name ORDER BY 1"
    ).to_table()
    assert list(joined["note"]) == [1, 2, 3, 4]
    assert len(mine.run_async(ALL)) == 4
    assert "tap_user.mine" in mine.tables.keys()  # noqa: SIM118  (no dictionary)
    for other in (place.service(place.bert), place.service(None)):
        assert "tap_user.mine" not in other.tables.keys()  # noqa: SIM118
        for ask in (other.search, other.run_async):
            with pytest.raises(pyvo.dal.DALQueryError, match="no table"):
                ask(ALL)
    (row,) = json.loads(run_hven("tables", "--json", "--site", place.site).stdout)
    assert (row["owner"], row["table"], row["rows"]) == ("anna", "tap_user.mine", 4)
    mine.remove_table("tap_user.mine")
    for _ in range(10):
        with pytest.raises(pyvo.dal.DALQueryError, match="no table"):
            mine.search(ALL)


def test_a_vosi_table_of_our_own_is_made_again_by_pyvo(place: Place) -> None:
    mine = place.service(place.anna)
    described = place.session(None).get(f"{place.server.url}/tap/tables/stars.main", timeout=30).content
    mine.create_table("tap_user.like_stars", io.BytesIO(described), format="VOSITable")
    assert len(mine.search("SELECT name, ra FROM tap_user.like_stars")) == 0
    mine.load_table("tap_user.like_stars", io.BytesIO(b"name,ra,dec\n0042,10,20\n"), format="csv")
    assert mine.search("SELECT name FROM tap_user.like_stars").to_table()["name"][0] == "0042", (
        "text stays as it is written"
    )
    (told,) = mine.search(
        "SELECT ucd FROM TAP_SCHEMA.columns WHERE table_name = 'tap_user.like_stars' AND column_name = 'ra'"
    )
    assert told["ucd"] == "pos.eq.ra;meta.main"
    mine.remove_table("tap_user.like_stars")


def test_an_index_through_pyvo(place: Place) -> None:
    mine = place.service(place.anna)
    mine.create_table("tap_user.mine", votable(name=["s1", "s2", "s2"], note=[1, 2, 3]), format="VOTable")
    session = place.session(place.anna)

    def plan(text: str) -> str:
        return session.post(
            f"{place.server.url}/tap/sync", data={"LANG": "ADQL", "QUERY": text, "EXPLAIN": "true"}, timeout=30
        ).text

    keyed = "SELECT name FROM tap_user.mine WHERE note = 2"
    before = plan(keyed)
    mine.create_index("tap_user.mine", "note", unique=True)
    assert plan(keyed) != before
    assert "note" in plan(keyed).partition("SELECT")[0]
    assert list(mine.search(keyed).to_table()["name"]) == ["s2"]
    (told,) = mine.search(
        "SELECT indexed FROM TAP_SCHEMA.columns WHERE table_name = 'tap_user.mine' AND column_name = 'note'"
    )
    assert told["indexed"] == 1
    for table, column, why in (
        ("tap_user.mine", "strange", "no column 'strange'"),
        ("tap_user.none", "note", "no table"),
        ("stars.main", "ra", "not one of your tables"),
    ):
        with pytest.raises(pyvo.dal.DALQueryError, match=why):
            mine.create_index(table, column)
    with pytest.raises(pyvo.dal.DALQueryError, match=r"are repeated.*'s2'"):
        mine.create_index("tap_user.mine", "name", unique=True)
    mine.create_index("tap_user.mine", "name")
    with pytest.raises(requests.HTTPError):  # the index is unique: what would break it is refused
        mine.load_table("tap_user.mine", io.BytesIO(b"name,note\ns9,3\n"), format="csv")
    assert len(mine.search(ALL)) == 3
    assert session.get(f"{place.server.url}/tap/table-update", timeout=30).text.count("<jobref") == 6
    assert place.session(None).get(f"{place.server.url}/tap/table-update", timeout=30).status_code == 401
    with pytest.raises(RuntimeError, match="401"):
        place.service(None).create_index("tap_user.mine", "note")
    mine.remove_table("tap_user.mine")


def test_the_convention_of_dachs_through_curl_and_a_join_by_stilts(place: Place, tmp_path: Path) -> None:
    url = f"{place.server.url}/tap/user_tables/near"
    (tmp_path / "near.vot").write_bytes(votable(name=["a", "b"], ra=[10.0, 200.0], dec=[20.0, -30.0]).getvalue())
    status, text = place.curl("-T", str(tmp_path / "near.vot"), url, token=place.anna)
    assert (status, text) == (201, "Query this table as tap_user.near\n")
    status, text = place.curl(url, token=place.anna)
    assert status == 200
    (tmp_path / "told.xml").write_text(text)
    xsd = shared("xsd")
    judge = [
        require_program("xmllint"),
        "--nonet",
        "--noout",
        "--schema",
        str(xsd / "all.xsd"),
        str(tmp_path / "told.xml"),
    ]
    judged = subprocess.run(
        judge,
        env={**os.environ, "XML_CATALOG_FILES": str(xsd / "catalog.xml")},
        capture_output=True,
        check=False,
        timeout=60,
        text=True,
    )
    assert judged.returncode == 0, judged.stderr
    assert place.curl(url)[0] == 401
    assert place.curl(url, token=place.bert)[0] == 404
    jar = tmp_path / "jar"
    login = ["-c", str(jar), "-d", "name=anna", "--data-urlencode", f"token={place.anna}", f"{place.server.url}/login"]
    assert place.curl(*login)[0] == 303
    assert place.curl("-b", str(jar), url)[0] == 200
    assert place.curl("-b", str(jar), "-X", "DELETE", "-H", "Origin: https://evil.example", url)[0] == 401
    asked = "SELECT t.name FROM tap_user.near AS t JOIN stars.main AS s ON DISTANCE(t.ra, t.dec, s.ra, s.dec) < 90 GROUP BY t.name ORDER BY 1"
    out = tmp_path / "out.vot"
    sync = f"{place.server.url}/tap/sync"
    assert (
        place.curl("-b", str(jar), "-o", str(out), sync, "-d", "LANG=ADQL", "--data-urlencode", f"QUERY={asked}")[0]
        == 200
    )
    # STILTS cannot log in: it writes what is loaded, reads what is answered, and is told of nothing
    read = run_stilts("tpipe", f"in={out}", "ofmt=csv")
    assert read.stdout.split() == ["name", "a", "b"]
    more = tmp_path / "more.vot"
    run_stilts("tcopy", f"in={tmp_path / 'near.vot'}", f"out={more}", "ofmt=votable-binary2-inline")
    load = f"{place.server.url}/tap/load/near"
    assert (
        place.curl("-b", str(jar), "--data-binary", f"@{more}", "-H", "Content-Type: application/x-votable+xml", load)[
            0
        ]
        == 200
    )
    told = run_stilts(
        "tapquery",
        f"tapurl={place.server.url}/tap",
        "sync=true",
        "ofmt=csv",
        "adql=SELECT * FROM tap_user.near",
        code=None,
    )
    assert told.returncode != 0
    assert "no table" in told.stderr
    assert place.curl("-b", str(jar), "-X", "DELETE", url)[0] == 200
    assert place.curl("-b", str(jar), "-c", str(jar), "-X", "POST", f"{place.server.url}/logout")[0] == 303
    assert place.curl("-b", str(jar), url)[0] == 401


def test_what_the_capabilities_say_is_enough_for_pyvo_to_log_in(place: Place) -> None:
    session = pyvo.auth.AuthSession()
    session.credentials.set_password("anna", place.anna)
    service = pyvo.dal.TAPService(f"{place.server.url}/tap", session=session)
    service.create_table("tap_user.mine", votable(name=["s1"]), format="VOTable")
    try:
        assert len(service.search(ALL)) == 1
    finally:
        place.service(place.anna).remove_table("tap_user.mine")


def test_load_query_and_delete_at_once(place: Place) -> None:
    """Whoever asks sees the table as it was before or after a change, that there is none, or that they came between: nothing fails otherwise."""
    url = f"{place.server.url}/tap"
    rows = 200
    body = "n\n" + "\n".join(str(n) for n in range(rows)) + "\n"
    wrong: list[str] = []
    seen: set[int] = set()
    over = threading.Event()

    def ask() -> None:
        with place.session(place.anna) as session:
            while not over.is_set():
                told = session.post(
                    f"{url}/sync",
                    data={"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS c FROM tap_user.busy", "RESPONSEFORMAT": "json"},
                    timeout=120,
                )
                if told.status_code == 200:
                    seen.add(told.json()["data"][0][0])
                elif (
                    told.status_code == 503
                    and "were replaced or removed while this query was waiting; run the query again" in told.text
                ):
                    if not int(
                        told.headers.get("retry-after", 0)
                    ):  # docs/explained/life-of-a-row.md: who had not opened them
                        wrong.append(f"when? {told.headers}")
                elif not (told.status_code == 400 and "no table" in told.text) and told.status_code != 409:
                    wrong.append(f"{told.status_code} {told.text[:300]}")

    def load() -> None:
        with place.session(place.anna) as session:
            while not over.is_set():
                told = session.post(f"{url}/load/busy", data=body, timeout=120)
                if told.status_code not in {200, 404, 409}:
                    wrong.append(f"load {told.status_code} {told.text[:300]}")

    threads = [threading.Thread(target=one) for one in (ask, ask, load, load)]
    with place.session(place.anna) as session:
        for thread in threads:
            thread.start()
        try:
            begun = time.monotonic()
            # a busy machine may have seen none yet
            while (so_far := time.monotonic() - begun) < 3 * EXAMPLES_FACTOR or not (seen or wrong or so_far > 120):
                session.put(f"{url}/user_tables/busy", data=body, timeout=120)
                time.sleep(0.7)
                session.delete(f"{url}/user_tables/busy", timeout=120)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        session.delete(f"{url}/user_tables/busy", timeout=120)
    assert not wrong, wrong[:5]
    assert seen
    assert {count % rows for count in seen} == {0}, "nothing half visible"
    assert min(seen) >= rows, "nothing is visible before its rows are"


def test_a_server_that_is_killed_while_it_loads(place: Place) -> None:
    """What was there stays as it was; the table can be written at once; what was half written goes."""

    url = f"{place.server.url}/tap"
    folder = place.site / "var" / "snapshots" / "tap_user.torn"
    count = {"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS c FROM tap_user.torn", "RESPONSEFORMAT": "json"}
    big = "n,x,y,z\n" + "".join(f"{n},{n * 0.1},{n * 0.2},{n * 0.3}\n" for n in range(400_000))
    answers: list[int] = []

    def send() -> None:
        with contextlib.suppress(requests.RequestException), place.session(place.anna) as other:
            answers.append(other.put(f"{url}/user_tables/torn", data=big, timeout=300).status_code)

    with place.session(place.anna) as session, Site(settings_of(place.site)) as site:
        assert session.put(f"{url}/user_tables/torn", data="n\n1\n", timeout=30).status_code == 201
        # files are made known under this lease: as long as it is ours, the load cannot be over before it is killed
        with site.store.leases.hold_lease("files", description="a test", wait_seconds=60):
            thread = threading.Thread(target=send)
            thread.start()
            found: list[int] = []

            def is_loading() -> bool:
                found[:] = _loading(place.server.process.pid, folder)
                return bool(found)

            wait_until(lambda: is_loading() or not thread.is_alive(), 300, pause_seconds=0.001)
            assert found, f"it was over before it was seen: {answers}"
            os.kill(found[0], signal.SIGKILL)
            thread.join()
            assert not answers, "it was to be killed before it answers"
            wait_until(lambda: not _loading(place.server.process.pid, folder))
        wait_until(lambda: session.get(f"{place.server.url}/health", timeout=5).status_code == 200)
        assert session.post(f"{url}/sync", data=count, timeout=30).json()["data"] == [[1]]
        wait_until(lambda: session.post(f"{url}/load/torn", data="n\n2\n", timeout=30).status_code == 200)
        assert session.post(f"{url}/sync", data=count, timeout=30).json()["data"] == [[2]]
        wait_until(lambda: _remove_leftovers(site, folder))
        assert session.post(f"{url}/sync", data=count, timeout=30).json()["data"] == [[2]]
        session.delete(f"{url}/user_tables/torn", timeout=30)


def _remove_leftovers(site: Site, folder: Path) -> bool:
    """Remove what nobody knows, unless somebody else is at the files at this moment, and tell whether all of it is gone."""
    from hven.site.user_tables import clean_user_table_storage

    clean_user_table_storage(site)
    return {path.name for path in folder.iterdir()} <= {Path(one).name for one in site.store.list_kept_snapshot_paths()}


def _loading(parent: int, folder: Path) -> list[int]:
    """Give the processes of a server that write below a folder: they hold the lock of what is not published yet."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            opened = list((path / "fd").iterdir()) if int(fields[1]) == parent else []
            if any(_is_lock_below(item, folder) for item in opened):
                found.append(int(path.name))
    return found


def _is_lock_below(link: Path, folder: Path) -> bool:
    """Return whether an open file of a process is the lock of something below a folder."""
    with contextlib.suppress(OSError):  # a file that was closed since they were listed
        target = link.readlink()
        return folder in target.parents and target.name == ".lock"
    return False


def test_the_verbs_for_the_owner_of_the_site(place: Place) -> None:
    """Show, expire, drop; an account goes with its tables, jobs, sessions and token; the keeper lets go what is over."""
    here = ("--site", place.site)
    carl = run_hven("user", "add", "carl", *here).stdout.strip()
    service = place.service(carl)
    for name in ("one", "two", "three"):
        service.create_table(f"tap_user.{name}", votable(name=["s1"], ra=[1.0], dec=[2.0]), format="VOTable")
    told = json.loads(run_hven("tables", "show", "carl", "tap_user.one", "--json", *here).stdout)
    assert [column["index"] for column in told["columns"]] == [None, "position", "position"]
    assert "tap_user.one of the user 'carl': 1 rows" in run_hven("tables", "show", "carl", "one", *here).stdout
    assert (
        "the user 'carl' has no table 'none'"
        in run_hven("tables", "drop", "carl", "none", *here, expected_code=1).stderr
    )
    run_hven("tables", "drop", "carl", "one", *here)
    run_hven("tables", "expire", "carl", "two", "--days", "0", *here)
    for name in ("one", "two"):
        wait_until(lambda name=name: place.curl(f"{place.server.url}/tap/user_tables/{name}", token=carl)[0] == 404)
    wait_until(lambda: not _has_table(place, "two"), 120)  # the keeper, and nobody else: it looks every 20 seconds
    job = service.submit_job("SELECT * FROM tap_user.three")
    renewed = run_hven("user", "token", "carl", *here).stdout.strip()
    wait_until(lambda: place.curl(f"{place.server.url}/tap/user_tables/three", token=carl)[0] == 401)
    with place.session(None) as browser:
        assert (
            browser.post(f"{place.server.url}/login", json={"name": "carl", "token": renewed}, timeout=30).json()[
                "name"
            ]
            == "carl"
        )
        assert browser.get(f"{place.server.url}/tap/user_tables/three", timeout=30).status_code == 200
        assert browser.get(job.url, timeout=30).status_code == 200
        run_hven("user", "remove", "carl", *here)
        assert browser.get(f"{place.server.url}/tap/user_tables/three", timeout=30).status_code == 401
        assert browser.get(job.url, timeout=30).status_code == 404
    again = run_hven("user", "add", "carl", *here).stdout.strip()
    assert place.curl(f"{place.server.url}/tap/user_tables/three", token=again)[0] == 404
    assert job.job_id not in place.curl(f"{place.server.url}/tap/async", token=again)[1]
    names = [item["name"] for item in json.loads(run_hven("user", "list", "--json", *here).stdout)]
    assert names == ["anna", "bert", "carl"]
    basic = base64.b64encode(f"carl:{again}".encode()).decode()
    assert place.curl("-H", f"Authorization: Basic {basic}", f"{place.server.url}/tap/user_tables/three")[0] == 404


def _has_table(place: Place, name: str) -> bool:
    return any(row["table"] == f"tap_user.{name}" for row in _raw(place))


def _raw(place: Place) -> list[dict[str, str]]:
    """Look at the rows without sweeping them."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(place.site / "var" / "hven.sqlite")) as raw:
        return [
            {"table": f"tap_user.{row[0]}"} for row in raw.execute("SELECT name FROM user_tables WHERE owner = 'carl'")
        ]
