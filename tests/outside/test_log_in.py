"""pyvo, curl and requests log in, each in its own way, and see what is theirs; what Starlink's client does is spoken step by step."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pyvo
import requests
from pyvo.auth import AuthSession

from process_runner import Server, run_hven, serve_site
from requirements import require_program

pytestmark = [
    pytest.mark.outside,
    # pyvo leaves sockets open
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
QUERY = "SELECT COUNT(*) AS n FROM nights.main"
PASSWORD = "four words are enough"
DESCRIPTOR = """collection: nights
tables:
  main:
    access: reader = owner or owner = 'all'
    source: rows.csv
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A served site of which everybody sees one row, and anna two."""

    server: Server
    token: str

    @property
    def tap(self) -> str:
        return f"{self.server.url}/tap"

    def seen(self, session: requests.Session | None = None) -> int:
        service = pyvo.dal.TAPService(self.tap, session=session)
        return int(service.search(QUERY)["n"][0])

    def curl(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [require_program("curl"), "-s", "-w", "\n%{http_code}", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    site = tmp_path_factory.mktemp("login") / "site"
    run_hven("init", site)
    home = site / "collections" / "nights"
    home.mkdir(parents=True)
    (home / "nights.yaml").write_text(DESCRIPTOR)
    (home / "rows.csv").write_text("id,owner\na,anna\nb,all\nc,bob\n")
    run_hven("ingest", "nights", "--site", site)
    run_hven("user", "add", "anna", "--site", site)
    token = run_hven("token", "add", "anna", "--days", "1", "--site", site).stdout.strip()
    run_hven("user", "password", "anna", "--site", site, stdin=f"{PASSWORD}\n")
    with serve_site(site) as server:
        yield Place(server=server, token=token)


def test_pyvo_decides_by_the_security_methods(place: Place) -> None:
    assert place.seen() == 1
    for secret in (place.token, PASSWORD):
        session = AuthSession()
        session.credentials.set_password("anna", secret)
        assert place.seen(session) == 2
    cookie = requests.post(
        f"{place.server.url}/login", data={"username": "anna", "password": PASSWORD}, timeout=60
    ).cookies
    session = AuthSession()
    session.credentials.set_cookie("hven_session", cookie["hven_session"])
    assert place.seen(session) == 2
    session = AuthSession()
    session.credentials.set_password("anna", "a wrong one, all in all")
    with pytest.raises(pyvo.dal.exceptions.DALServiceError, match="not valid here"):
        place.seen(session)


def test_curl(place: Place, tmp_path: Path) -> None:
    asked = (
        "-G",
        f"{place.tap}/sync",
        "-d",
        "LANG=ADQL",
        "-d",
        "RESPONSEFORMAT=json",
        "--data-urlencode",
        f"QUERY={QUERY}",
    )

    def count_visible_rows(*words: str) -> int:
        status, body = place.curl(*words, *asked)
        assert status == 200, body
        return int(json.loads(body)["data"][0][0])

    assert count_visible_rows() == 1
    assert count_visible_rows("-u", f"anna:{place.token}") == count_visible_rows("-u", f"anna:{PASSWORD}") == 2
    assert count_visible_rows("-H", f"Authorization: Bearer {place.token}") == 2
    jar = str(tmp_path / "jar")
    assert (
        place.curl(
            "-c", jar, f"{place.server.url}/login", "-d", "username=anna", "--data-urlencode", f"password={PASSWORD}"
        )[0]
        == 200
    )
    assert count_visible_rows("-b", jar) == 2
    # of all the ways that a 401 offers, curl takes the one that it knows
    status, body = place.curl("--anyauth", "-u", f"anna:{PASSWORD}", f"{place.tap}/user_tables/none")
    assert (status, "none" in body) == (404, True)
    assert place.curl("-u", "anna:wrong", *asked)[0] == 401


def test_the_steps_of_starlink(place: Place) -> None:
    """Its manual: HEAD of the capabilities, the first challenge that it knows, a POST there, the cookie with what follows; HEAD again tells whether it holds."""
    first = requests.head(f"{place.tap}/capabilities", timeout=60)
    assert first.status_code == 200
    assert "X-VO-Authenticated" not in first.headers
    offers = re.findall(r'(\w+) standard_id="([^"]+)", access_url="([^"]+)"', first.headers["WWW-Authenticate"])
    assert [name for name, _, _ in offers] == ["ivoa_cookie", "ivoa_bearer"]
    _, standard, address = offers[0]
    assert standard == "ivo://ivoa.net/sso#tls-with-password"
    wrong = requests.post(address, data={"username": "anna", "password": "x"}, timeout=60)
    assert wrong.status_code == 401
    session = requests.Session()
    assert session.post(address, data={"username": "anna", "password": PASSWORD}, timeout=60).status_code == 200
    assert session.head(f"{place.tap}/capabilities", timeout=60).headers["X-VO-Authenticated"] == "anna"
    assert place.seen(session) == 2
    bearer = session.post(offers[1][2], data={"username": "anna", "password": PASSWORD}, timeout=60).headers[
        "X-VO-Bearer"
    ]
    other = requests.Session()
    other.headers["Authorization"] = f"Bearer {bearer}"
    assert place.seen(other) == 2
