"""pyvo keeps, loads and removes a table in a service of two processes; others do not see it; `hven user` and `hven tables` from the shell."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
import pyvo
import requests
from astropy.table import Table

from running import hven, serving

pytestmark = [
    pytest.mark.outside,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),  # pyvo leaves sockets open
]


def test_a_table_through_pyvo(tmp_path: Path) -> None:
    (tmp_path / "stars.csv").write_text("name,vmag\nVega,0.03\nSirius,-1.46\n")
    site = tmp_path / "site"
    hven("init", site)
    hven("new", "stars", "--from", tmp_path / "stars.csv", "--site", site)
    hven("ingest", "stars", "--site", site)
    anna, bert = (hven("user", "add", name, "--site", site).stdout.strip() for name in ("anna", "bert"))
    pyvo.utils.activate_features("cadc-tb-upload")
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(serving(site, workers=2))

        def service(token: str | None) -> pyvo.dal.TAPService:
            session = closing.enter_context(requests.Session())
            if token:
                session.headers["Authorization"] = f"Bearer {token}"
            return pyvo.dal.TAPService(f"{server.url}/tap", session=session)

        mine = service(anna)
        file = io.BytesIO()
        Table({"name": ["Vega", "Deneb"], "note": [1, 2]}).write(file, format="votable")
        file.seek(0)
        mine.create_table("tap_user.mine", file, format="VOTable")
        text = "SELECT * FROM tap_user.mine"
        for _ in range(10):  # whichever process answers
            assert len(mine.search(text)) == 2
        mine.load_table("tap_user.mine", io.BytesIO(b"name\tnote\nSirius\t3\n"), format="tsv")
        for _ in range(10):
            assert len(mine.search(text)) == 3
        joined = mine.search("SELECT m.note FROM stars.main AS s JOIN tap_user.mine AS m ON s.name = m.name ORDER BY 1").to_table()
        assert list(joined["note"]) == [1, 3]
        assert len(mine.run_async(text)) == 3
        assert "tap_user.mine" in mine.tables.keys()  # noqa: SIM118  (no dictionary)
        for other in (service(bert), service(None)):
            assert "tap_user.mine" not in other.tables.keys()  # noqa: SIM118
            for ask in (other.search, other.run_async):
                with pytest.raises(pyvo.dal.DALQueryError, match="no table"):
                    ask(text)
        (row,) = json.loads(hven("tables", "--json", "--site", site).stdout)
        assert (row["owner"], row["table"], row["rows"]) == ("anna", "tap_user.mine", 3)
        mine.remove_table("tap_user.mine")
        for _ in range(10):
            with pytest.raises(pyvo.dal.DALQueryError, match="no table"):
                mine.search(text)
    hven("user", "remove", "anna", "--site", site)
    assert [item["name"] for item in json.loads(hven("user", "list", "--json", "--site", site).stdout)] == ["bert"]
