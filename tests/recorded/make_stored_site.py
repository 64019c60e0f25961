"""Create the site that is stored beside this file, with years of history.

Run ``python tests/recorded/make_stored_site.py``. The site is created once, and later commits must open it. A new one
would hide that they cannot.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from asgi_client import Answer, Client
from fixed_time import INSTANT_SECONDS, hold_time
from route_recorder import speed_up_requests

from example_sites import EXAMPLES
from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.jobs._worker import run_next_job
from hven.model import settings
from hven.site import Site

ARCHIVE = Path(__file__).parent / "stored/site.tar.xz"
FACTS = Path(__file__).parent / "stored/facts.json"
FORM = {"content-type": "application/x-www-form-urlencoded"}
QUERY = "SELECT name, ra, redshift FROM psz2.main WHERE redshift > 0.1 ORDER BY name"
OWN_ROWS = b"name,weight\nSirius,1.5\nVega,2.5\n"
SETTINGS = 'hats = {roots = ["catalogues"]}\n'
STARS = "brightest"  # is kept as HATS
COLLECTIONS = ("psz2", "followup", "lowz", STARS)


@contextmanager
def open_site(directory: Path) -> Iterator[tuple[Site, Client]]:
    """Open a site and a client of its application."""
    with speed_up_requests(), Site(settings.load_settings(directory)) as site:
        yield site, Client(create_and_start_application(site))


def make_site(directory: Path) -> dict[str, str]:
    """Create the site; return the addresses of its job and of its result."""
    shutil.copytree(EXAMPLES / "18-hesiod", directory)
    shutil.copytree(EXAMPLES / "01-csv-to-cone/collections" / STARS, directory / "collections" / STARS)
    stars = directory / "collections" / STARS / f"{STARS}.yaml"
    stars.write_text(stars.read_text(encoding="utf-8") + "engine: hats\n", encoding="utf-8")
    toml = directory / "hven.toml"
    toml.write_text(SETTINGS + toml.read_text(encoding="utf-8"), encoding="utf-8")
    for label in ("R4", "R6"):
        subprocess.run([sys.executable, directory / "make_data.py", label], check=True, timeout=600)
    set_times(directory)
    psz2 = directory / "collections/psz2/psz2.yaml"
    with open_site(directory) as (site, _):
        for name in COLLECTIONS:
            report = ingest_collection(site, name)
            assert report.published, report.error
        site.store.releases.add_collection_releases("R4", ["psz2", "followup"], "The first one")
        psz2.write_text(psz2.read_text(encoding="utf-8").replace("R4", "R6"), encoding="utf-8")
        set_times(directory, hours=12)  # a descriptor of the same time and length is taken for the same
        site.refresh_published_state()
        for name in ("psz2", "followup"):
            report = ingest_collection(site, name)
            assert report.published, report.error
        site.store.releases.add_collection_releases("R6", ["psz2"], "The second one")
        for name in COLLECTIONS:  # afterwards their sources are known file by file
            assert sync_collection(site, name).error is None
    with open_site(directory) as (site, client):
        token = site.store.users.add_account("anna")
        site.store.users.add_account("bob")
        give = site.store.grants.add_grant
        give("member", subject="anna", object="hesiod", role="curator", actor="owner")
        give("delegation", subject="bob", object="anna", actor="anna", expiry_time=INSTANT_SECONDS + 9e8)
        as_anna = {"authorization": f"Bearer {token}"}
        kept = client.ask(
            "PUT", "/tap/user_tables/mine", body=OWN_ROWS, headers={**as_anna, "content-type": "text/csv"}
        )
        assert kept.status == 201, kept.text
        job = client.ask("POST", "/tap/async", body=urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": QUERY, "PHASE": "RUN"}).encode(), headers=FORM)  # fmt: skip
        assert job.status == 303, job.text
        while run_next_job(site):
            pass
        cited = client.ask("POST", "/results", body=urlencode({"QUERY": QUERY}).encode(), headers={**FORM, "accept": "application/json"})  # fmt: skip
        assert cited.status == 201, cited.text
        return {
            "job": "/tap/async" + job.headers["location"].partition("/tap/async")[2],
            "result": "/results" + json.loads(cited.body)["url"].partition("/results")[2],
        }


def set_times(directory: Path, *, hours: int = 24) -> None:
    """Set the modification time of all files of a directory, in hours before the instant."""
    for path in directory.rglob("*"):
        if "var" not in path.relative_to(directory).parts:
            os.utime(path, (INSTANT_SECONDS - 3_600 * hours, INSTANT_SECONDS - 3_600 * hours))


def ask_stored(client: Client, facts: dict[str, str], token: str) -> Iterator[tuple[str, Answer]]:
    """Request what only this site has: the job, the result, a user table, earlier states."""
    as_anna = {"authorization": f"Bearer {token}"}
    for rest in ("", "/phase", "/parameters", "/results", "/results/result", "/owner", "/error"):
        yield f"job{rest}", client.ask("GET", facts["job"] + rest)
    for rest in ("", "/rows?RESPONSEFORMAT=csv"):
        yield f"result{rest}", client.ask("GET", facts["result"] + rest)
    queries = {
        "own table": ("SELECT * FROM tap_user.mine ORDER BY name", {}),
        "members": ("SELECT COUNT(*) AS n FROM followup.targets", {}),
        "R4": ("SELECT COUNT(*) AS n, COUNT(redshift) AS m FROM psz2.main", {"ASOF": "R4"}),
        "schema of R4": ("SELECT * FROM psz2_r4.main ORDER BY name", {}),
    }
    for name, (query, more) in queries.items():
        asked = urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query, **more})
        for reader, headers in (("anna", as_anna), ("anonymous", {})):
            yield f"{name}: {reader}", client.ask("GET", f"/tap/sync?{asked}", headers=headers)
    for address in (
        "/projects",
        "/projects/hesiod",
        "/collections/psz2/releases/R4",
        "/tap/user_tables/mine",
        "/jobs",
        "/news",
    ):
        yield f"anna: {address}", client.ask("GET", address, headers=as_anna)


def pack_site(directory: Path) -> bytes:
    """Pack a directory into the same bytes for the same files."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for path in sorted(directory.rglob("*")):
            member = archive.gettarinfo(path, path.relative_to(directory).as_posix())
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = INSTANT_SECONDS - 3_600 * 12
            archive.addfile(member, io.BytesIO(path.read_bytes()) if path.is_file() else None)
    return lzma.compress(whole.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def unpack_site(directory: Path) -> None:
    """Unpack the stored site into a directory."""
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(ARCHIVE.read_bytes()))) as archive:
        archive.extractall(directory, filter="data")


def main() -> int:
    """Create the site and store it."""
    with tempfile.TemporaryDirectory() as name, hold_time():
        facts = make_site(Path(name) / "site")
        ARCHIVE.parent.mkdir(exist_ok=True)
        ARCHIVE.write_bytes(pack_site(Path(name) / "site"))
        FACTS.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"{ARCHIVE.name}: {ARCHIVE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
