"""OIFITS files that users submit: their report by the rules of the standard, and their granules as rows."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rule_files import make_oifits, set_cell

from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files

FOLDER = Path(__file__).parents[1] / "submissions"
if not FOLDER.exists():
    pytest.skip("there is no package for submissions", allow_module_level=True)
sys.path[:0] = [str(FOLDER), str(FOLDER.parents[1] / "protocols")]

from asgi_client import Client  # noqa: E402
from submission_site import Person, query, read_submission  # noqa: E402

from hven.app._server import create_and_start_application  # noqa: E402

DESCRIPTOR = """\
collection: oidb
title: Interferometry
tables:
  granules:
    source:
      kind: push
      columns: {id: int64, target_name: string, instrument_mode: string, night: string, t_max: float64, em_min: float64, nb_vis2: int32, path: string, sha256: string}
      ids: id
      writers: [mia]
    submissions: {path: path, sha256: sha256, files: oifits}
    primary: id
"""


def write_file(rule: str = "") -> bytes:
    hdus = make_oifits(1)
    if rule == "error":
        set_cell("OI_TARGET", "TARGET_ID", 0, 0)(hdus)
    elif rule == "warning":
        set_cell("OI_VIS2", "VIS2ERR", 1, [0.1, -0.1, 0.1])(hdus)
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


def test_granules_of_good_files_are_published_and_bad_files_are_listed(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR) as site:
        ingest_collection(site, "oidb")
        site.store.users.add_account("anna")
        client = Client(create_and_start_application(site))
        anna = Person(client, site, "anna")
        contents = {"good.oifits": write_file(), "wrong.oifits": write_file("error"), "cut.oifits": write_file()[:-3_000], "odd.oifits": write_file("warning")}  # fmt: skip
        submission = anna.begin(contents)
        states = {file["name"]: file["state"] for file in submission["files"]}
        assert states == {"good.oifits": "good", "wrong.oifits": "bad", "cut.oifits": "bad", "odd.oifits": "good"}
        findings = [[(finding["rule"], finding["severity"], finding["place"], finding["section"]) for finding in file["findings"]] for file in submission["files"]]  # fmt: skip
        assert findings[0] == []
        assert ("OI_TARGET_TARGETID_MIN", "error", "OI_TARGET#1.TARGET_ID", "V2, OI_TARGET") in findings[1]
        assert [finding[0] for finding in findings[2]] == ["FILE_LOAD"]
        assert findings[3] == [("GENERIC_COL_ERR_FIX", "warning", "OI_VIS2#5.VIS2ERR", "JMMC")]
        assert "cut.oifits" not in submission["files"][2]["findings"][0]["message"].replace("the file ends within", "")
        blocked = anna.take(submission, "submit")
        assert (blocked.status, "explain in the note" in blocked.text) == (400, True)
        submission = read_submission(anna.get(f"/submissions/oidb.granules/{submission['number']}"))
        odd = submission["files"][3]
        assert 'value="repair"' in anna.show(f"/submissions/oidb.granules/{submission['number']}")
        odd_rows = [str(row["number"]) for row in submission["rows"] if row["file"] == odd["number"]]
        values = {odd_rows[1]: {"instrument_mode": "entered"}}
        submission = read_submission(anna.take(submission, "edit", values=values))
        repaired = read_submission(anna.take(submission, "repair", file=str(odd["number"])))
        copy = repaired["files"][-1]
        assert (copy["name"], copy["state"], copy["sha256"] != odd["sha256"]) == ("odd.oifits", "good", True)
        assert [finding["message"] for finding in copy["findings"]] == [
            f"a copy of {odd['sha256']}, repaired by GENERIC_COL_ERR_FIX"
        ]
        assert anna.take(repaired, "repair", file=str(copy["number"])).status == 400, "there is nothing left to repair"
        saved = read_submission(anna.take(repaired, "submit"))
        assert saved["state"] == "saved"
        rows = query(client, "SELECT target_name, instrument_mode, night, nb_vis2, path FROM oidb.granules ORDER BY id")
        folder = f"submitted/{saved['number']}"
        expected_rows = [
            [target, "INS_A", "2014-12-08", "1", f"{folder}/{name}.oifits"] for name in ("good", "odd") for target in ("one", "two")
        ]  # fmt: skip
        expected_rows[-1][1] = "entered"  # the repair keeps what the author entered
        assert rows == expected_rows
