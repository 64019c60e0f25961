"""What the how-tos say to write does what they say."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from plugin_needs import require_verb
from process_runner import run_hven, serve_site, wait_until, write_shell_program
from requirements import require_program
from shared import ROOT
from star_descriptors import write_stars_descriptor

pytestmark = pytest.mark.slow

STARS = "name,ra (deg),dec (deg),Vmag (mag)\nSirius,101.287,-16.716,-1.44\nVega,279.235,38.784,0.03\nRigel,78.634,-8.202,0.18\n"


def block(page: str, kind: str) -> str:
    """Take the first block of a kind from a how-to."""
    text = (ROOT / "docs/howto" / page).read_text(encoding="utf-8")
    found = re.search(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no block of {kind}"
    return found[1]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "stars.csv").write_text(STARS)
    run_hven("init", tmp_path / "site")
    write_stars_descriptor(tmp_path / "site", tmp_path / "stars.csv")
    run_hven("ingest", "stars", "--site", tmp_path / "site")
    return tmp_path / "site"


def test_behind_a_proxy(site: Path) -> None:
    settings = block("reverse-proxy.md", "toml")
    public = tomllib.loads(settings)["public_url"]
    (site / "hven.toml").write_text(settings)
    with serve_site(site) as server:
        for prefix in ("/hven", ""):  # left in place by the proxy, or taken off
            capabilities = server.get(prefix + "/tap/capabilities")[2].decode()
            addresses = re.findall(r"<accessURL[^>]*>([^<]+)<", capabilities)
            assert addresses
            assert all(address.startswith(public + "/tap") for address in addresses)
            assert server.get(prefix + "/health")[0] == 200
            assert f'href="{public}/' in server.get(prefix + "/")[2].decode()
        told = server.get("/tap/sync", LANG="ADQL", QUERY="SELECT nam FROM stars.main", RESPONSEFORMAT="csv")
        assert told[0] == 400
        assert server.send("GET", "/health", headers={"X-Request-ID": "abc-123"})[1]["x-request-id"] == "abc-123"


HVEN_0_2 = """
import sys
import sqlalchemy as sa
import hven.site.store, hven.site.store._database as database
database.UPGRADE_STEPS[database.STATE_FORMAT] = lambda connection: connection.execute(sa.text("ALTER TABLE runs ADD COLUMN weather TEXT"))
hven.site.store.STATE_FORMAT = database.STATE_FORMAT = database.OLDEST_FORMAT = database.STATE_FORMAT + 1
from hven.app import main
if __name__ == "__main__":
    sys.exit(main())
"""


def test_an_upgrade_that_changes_the_format_and_the_way_back(site: Path, tmp_path: Path) -> None:
    """upgrade.md from its first line to its last, to a Hven whose system state has another format, and back."""
    require_verb("backup")
    before, after = (tmp_path / f"opt/hven-{version}/bin/hven" for version in ("0.1.0", "0.2.0"))
    for version in (before, after):
        version.parent.mkdir(parents=True)
    write_shell_program(before)
    after.write_text(f"#!{sys.executable}\n{HVEN_0_2}")
    after.chmod(0o755)
    (tmp_path / "opt/hven").symlink_to("hven-0.1.0")
    (tmp_path / "srv").mkdir()
    site = site.rename(tmp_path / "srv/hven")
    (site / "secrets.toml").write_text('KEY = "value"\n')
    for name in ("backups", "var/tmp"):
        (tmp_path / name).mkdir(parents=True)
    beside, upgrade, back, restored = re.findall(
        r"^```sh\n(.*?)^```", (ROOT / "docs/howto/upgrade.md").read_text(), re.MULTILINE | re.DOTALL
    )
    command = [str(tmp_path / "opt/hven/bin/hven")]

    def follow(lines: str, code: int = 0) -> str:
        """Run the lines here, but for what an administrator alone may do, and what test_wheel does."""
        lines = re.sub(r"(?m)^(sudo python3 -m venv|unzip|sudo \S+/pip|sudo systemctl|curl) .*\n", "", lines)
        lines = re.sub(r"sudo (-u hven )?", "", lines).replace(" -o hven -g hven", "")
        lines = re.sub(r"(?<=\s)/(opt|srv|var|backups)/", rf"{tmp_path}/\1/", "\n" + lines)
        done = subprocess.run(
            ["bash", "-euc", lines], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr

    def brightest(command: list[str] | None = None) -> list[list[str]]:
        with serve_site(site, command=command) as server:
            return server.rows("SELECT name FROM stars.main WHERE vmag < 0")

    with serve_site(site) as server:  # by the one that is there
        follow(beside)
        assert server.get("/health/ready")[0] == 200  # the trial has touched nothing of it
    follow(upgrade)
    assert brightest(command) == [["Sirius"]]
    assert re.search(
        r"has format \d+, but this version of Hven supports only formats up to \d+.*restore the backup",
        follow(back, code=3),
    )
    follow(restored)
    assert brightest() == [["Sirius"]]
    assert (site / "secrets.toml").read_text() == 'KEY = "value"\n'


def test_a_private_collection_on_every_road(site: Path) -> None:
    line = (
        next(line for line in block("private.md", "yaml").splitlines() if line.startswith("access:"))
        .partition("#")[0]
        .strip()
    )
    path = site / "collections/stars/stars.yaml"
    text = path.read_text()
    with serve_site(site) as server:
        roads = ["/cone/stars.main?RA=101&DEC=-16&SR=1", "/tap/tables/stars.main", "/collections/stars"]
        assert [server.get(road)[0] for road in roads] == [200, 200, 200]
        path.write_text(text + line + "\n")
        wait_until(lambda: server.get(roads[0])[0] == 404)
        assert [server.get(road)[0] for road in roads] == [404, 404, 404]
        assert b"stars.main" not in server.get("/")[2] + server.get("/tap/tables")[2]
        assert server.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM stars.main")[0] == 400
        assert server.rows("SELECT table_name FROM TAP_SCHEMA.tables WHERE table_name LIKE 'stars%'") == []
        command = re.search(r"hven query --public \"(.*)\"", (ROOT / "docs/howto/private.md").read_text())
        assert command
        assert "stars" not in run_hven("query", "--public", command[1], "--site", site).stdout
        assert "stars.main" in run_hven("query", command[1], "--site", site).stdout
        path.write_text(text)
        wait_until(lambda: [server.get(road)[0] for road in roads] == [200, 200, 200])


def test_secrets_come_from_the_environment_or_from_their_file(site: Path, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ops.sqlite") as database:
        database.executescript(
            "CREATE TABLE cubes (id INTEGER, name TEXT); INSERT INTO cubes VALUES (1, 'a'), (2, 'b');"
        )
    database.close()
    address = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    run_hven("new", "cubes", "--from", "$OPS_DB", "--table", "cubes", "--site", site, OPS_DB=address)
    text = (site / "collections/cubes/cubes.yaml").read_text()
    assert "$OPS_DB" in text
    assert str(tmp_path) not in text.partition("source:")[2]
    told = run_hven("ingest", "cubes", "--site", site, expected_code=1).stderr
    assert "the secret OPS_DB is not set" in told
    (site / "secrets.toml").write_text(f'OPS_DB = "{address}"\n')
    assert "cubes.main: 2 rows" in run_hven("ingest", "cubes", "--site", site).stdout
    shown = (
        run_hven("status", "--json", "--site", site).stdout
        + run_hven("history", "cubes", "--json", "--site", site).stdout
    )
    assert "ops.sqlite" not in shown
    (site / "secrets.toml").unlink()
    assert "cubes.main: 2 rows" in run_hven("ingest", "cubes", "--site", site, OPS_DB=address).stdout


def test_a_list_of_ones_own_is_matched(tmp_path: Path) -> None:
    text = (ROOT / "docs/howto/upload-and-match.md").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "examples/01-csv-to-cone", tmp_path / "site", ignore=shutil.ignore_patterns("var"))
    run_hven("ingest", "brightest", "--site", tmp_path / "site")
    (tmp_path / "mylist.csv").write_text(block("upload-and-match.md", "csv"), encoding="utf-8")
    require_program("stilts")
    with serve_site(tmp_path / "site") as server:

        def run(*words: str, text: str) -> str:
            here = text.replace("http://127.0.0.1:8080", server.url)
            done = subprocess.run(
                [*words, here], cwd=tmp_path, check=False, timeout=600, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        curl, stilts = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        shown = block("upload-and-match.md", "text")
        assert run("bash", "-euo", "pipefail", "-c", text=curl).splitlines() == shown.splitlines()
        for told in (
            run("bash", "-euo", "pipefail", "-c", text=stilts),
            run(sys.executable, "-c", text=block("upload-and-match.md", "python")),
        ):
            assert re.search(r"A +Sirius", told)
            assert re.search(r"B +Vega", told)
