"""A site with an archive, a moderated list of images, and a table of nights, to which users submit; for the tests of this package."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asgi_client import Answer, Client
from astropy.io import fits

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.site.auth.local import create_personal_token
from hven.testing.site import open_site_with_uningested_files

ARCHIVE = """\
collection: oidb
title: Interferometry
files:
  - {from: granules, path: "{path}", sha256: sha256}
tables:
  granules:
    title: Granules
    source:
      kind: push
      columns: {id: int64, target_name: string, instrument_mode: string, night: string, t_max: float64, nb_vis2: int32, progid: string,
        obs_collection: string, calib_level: int32, quality: string, path: string, sha256: string, version: int32}
      ids: id
      writers: [mia]
    submissions:
      path: path
      sha256: sha256
      submitters: [anna, bob]
      shared: [obs_collection, calib_level]
      identity: [target_name, instrument_mode, night]
      version: version
      values: {target_name: OBJECT, instrument_mode: INSMODE, night: NIGHT, t_max: MJD-END, nb_vis2: NVIS2, progid: PROG_ID}
    primary: id
    access: {rows: public, take: "obs_release_date <= now or reader in ('anna')", path: path}
    embargo: {from: t_max, months: {from: obs_collection, values: {chara: 18}, default: 0}}
    columns:
      id: {type: int64, ucd: meta.id;meta.main, description: Number}
      target_name: {type: string, required: true, ucd: meta.id;src, description: Target}
      instrument_mode: {type: string, ucd: meta.id, description: Mode}
      night: {type: string, ucd: meta.id, description: Night}
      t_max: {type: float64, unit: d, ucd: time.end, description: Last time}
      nb_vis2: {type: int32, ucd: meta.number, description: Squared visibilities}
      progid: {type: string, ucd: meta.id, description: Programme}
      obs_collection: {type: string, enum: kinds, ucd: meta.id, description: Collection}
      calib_level: {type: int32, minimum: 0, maximum: 3, ucd: meta.code, description: Level}
      quality: {type: string, ucd: meta.code.qual, description: Quality}
      path: {type: string, ucd: meta.file, description: File}
      sha256: {type: string, ucd: meta.checksum, description: Checksum}
      version: {type: int32, ucd: meta.version, description: Version}
    enums: {kinds: {chara: CHARA, pionier: PIONIER}}
"""
LISTS = """\
collection: lists
title: Lists
files:
  - {from: images, path: "{file_name}", sha256: total}
tables:
  images:
    title: Images
    source: {kind: push, columns: {id: int64, object: string, exptime: float32, observer: string, file_name: string, total: string}, ids: id, writers: [mia]}
    submissions:
      path: file_name
      sha256: total
      to: images/sent
      values: {object: OBJECT, exptime: EXPTIME, observer: PI}
      submitters: [anna, bob]
      moderated: true
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main, description: Number}
      object: {type: string, required: true, ucd: meta.id;src, description: Object}
      exptime: {type: float32, unit: s, minimum: 0, ucd: time.duration, description: Exposure}
      observer: {type: string, ucd: meta.id.PI, description: Observer}
      file_name: {type: string, ucd: meta.file, description: File}
      total: {type: string, ucd: meta.checksum, description: Checksum}
    rules:
      short: {if: "exptime IS NULL OR exptime < 1000", severity: warning, message: {en: the exposure is long, fr: la pose est longue}}
      named: {check: between, columns: [exptime], high: 5000, message: {en: more than an hour, fr: plus d'une heure}}
  nights:
    title: Nights at CHARA
    source:
      kind: push
      columns: {id: int64, night: string, star: string, pi: string, program: string, combiner: string, kind: string, mjd: float64, band: string,
        scopes: string, b1: float32, b2: float32, b3: float32, t0_obs: float32, t0_500: float32, path: string, sha256: string}
      ids: id
      writers: [mia]
    submissions:
      path: path
      sha256: sha256
      submitters: [anna]
      values: {night: UT-DATE, star: STAR, pi: PI, program: PROGRAM, combiner: COMBINER, kind: TYPE, mjd: MJD, band: FILTER, scopes: SCOPES,
        b1: B1, b2: B2, b3: B3, t0_obs: T0_OBS, t0_500: T0_500nm}
    primary: id
    columns:
      id: {type: int64, description: Number}
      star: {type: string, required: true, description: Star}
      mjd: {type: float64, unit: d, description: Time}
      b1: {type: float32, unit: m, description: Baseline}
      path: {type: string, description: File}
      sha256: {type: string, description: Checksum}
  plans:
    title: Plans
    source: {kind: push, columns: {id: int64, star: string, night: string, visits: int32}, ids: id, writers: [mia]}
    submissions: {submitters: [anna], moderated: true, identity: [star, night]}
    primary: id
    keys: {star: stars}
    columns: {id: int64, star: string, night: string, visits: int32}
  stars:
    source: {kind: csv, files: stars.csv}
    primary: star
    access: {rows: "star <> 'secret' or reader = 'mia'"}
    columns: {star: string}
  levels:
    source: {kind: push, columns: {id: int64, object: string, level: int32, path: string, sha256: string}, ids: id, writers: [mia]}
    submissions: {path: path, sha256: sha256, values: {object: OBJECT, level: LEVEL}, level: level, warnings: show, submitters: [anna]}
    primary: id
    columns: {id: int64, object: string, level: int32, path: string, sha256: string}
  hidden:
    access: private
    source: {kind: push, columns: {id: int64, file_name: string, total: string}, ids: id, writers: [mia]}
    submissions: {path: file_name, sha256: total}
    primary: id
    columns: {id: int64, file_name: string, total: string}
"""
PEOPLE = ("anna", "bob", "mia", "eve")


class Person:
    """A client with a token, or without for an empty name."""

    def __init__(self, client: Client, site: Site, name: str) -> None:
        self.client = client
        self.proof: dict[str, str] = {}
        if name:
            token = create_personal_token(site.store, name, "all", 1, created_by=name)[1]
            self.proof = {"authorization": f"Bearer {token}"}

    def get(self, path: str, **headers: str) -> Answer:
        return self.client.ask("GET", path, headers={"accept": "application/json", **self.proof, **headers})

    def show(self, path: str) -> str:
        return self.get(path, accept="text/html").text

    def send(self, path: str, document: object, **headers: str) -> Answer:
        sent = {"content-type": "application/json", "accept": "application/json", **self.proof}
        return self.client.ask("POST", path, body=json.dumps(document).encode(), headers={**sent, **headers})

    def send_file(self, path: str, name: str, content: bytes, **headers: str) -> Answer:
        sent = {"content-type": "application/octet-stream", "accept": "application/json", **self.proof}
        return self.client.ask("POST", f"{path}?filename={name}", body=content, headers={**sent, **headers})

    def post_form(self, path: str, fields: Mapping[str, str], files: Mapping[str, bytes]) -> Answer:
        """Send a form as browsers do."""
        lines = []
        for name, text in fields.items():
            lines += [b"--B", f'Content-Disposition: form-data; name="{name}"'.encode(), b"", text.encode()]
        for name, content in files.items():
            lines += [b"--B", f'Content-Disposition: form-data; name="files"; filename="{name}"'.encode(), b"Content-Type: application/octet-stream", b"", content]  # fmt: skip
        body = b"\r\n".join([*lines, b"--B--", b""])
        sent = {"content-type": "multipart/form-data; boundary=B", "accept": "text/html", **self.proof}
        return self.client.ask("POST", path, body=body, headers=sent)

    def begin(self, files: Mapping[str, bytes], table: str = "oidb.granules") -> dict[str, Any]:
        """Begin a submission with files, in a ZIP archive."""
        answer = self.send_file(f"/submissions/{table}", "files.zip", pack(files))
        return read_submission(answer, 201)

    def take(self, submission: dict[str, Any], action: str, **more: Any) -> Answer:
        return self.send(path_of(submission), {"action": action, "etag": submission["etag"], **more})


def path_of(submission: dict[str, Any]) -> str:
    return f"/submissions/{submission['table']}/{submission['number']}"


def read_submission(answer: Answer, status: int = 200) -> dict[str, Any]:
    assert answer.status == status, answer.text
    submission: dict[str, Any] = json.loads(answer.body)
    return submission


def pack(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def make_file(target: str, **cards: Any) -> bytes:
    """Make a file of the archive about a target."""
    return make_image(
        **{"OBJECT": target, "INSMODE": "LOW", "NIGHT": "2014-12-08", "MJD-END": 57_000.1, "NVIS2": 2, **cards}
    )


def make_image(**cards: Any) -> bytes:
    buffer = io.BytesIO()
    fits.PrimaryHDU(header=fits.Header(cards)).writeto(buffer)
    return buffer.getvalue()


def query(client: Client, text: str) -> list[list[str]]:
    """Query by TAP, as an anonymous reader."""
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=text, RESPONSEFORMAT="csv")
    return [line.split(",") for line in answer.text.splitlines()[1:]]


@contextmanager
def open_submission_site(directory: Path, **settings: Any) -> Iterator[tuple[Site, Client, dict[str, Person]]]:
    with open_site_with_uningested_files(directory, ARCHIVE, **settings) as site:
        folder = site.settings.collections_directory / "lists"
        folder.mkdir()
        (folder / "lists.yaml").write_text(LISTS)
        (folder / "stars.csv").write_text("star\nalf Lyr\nbet Lyr\nsecret\n")
        site.refresh_published_state()
        for name in ("oidb", "lists"):
            ingest_collection(site, name)
        for name in PEOPLE:
            site.store.users.add_account(name)
        client = Client(create_and_start_application(site))
        yield site, client, {name: Person(client, site, name) for name in (*PEOPLE, "")}
