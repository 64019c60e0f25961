"""Versions by identities of any type, and release dates of rows whose keys the files give."""

from __future__ import annotations

from pathlib import Path

import pytest
from asgi_client import Client
from submission_site import Person, make_file, make_image, read_submission

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.plugins.submissions import published_rows, submission_workflow
from hven.testing.site import open_site_with_uningested_files

OBSERVATIONS = """\
collection: obs
title: Observations
tables:
  named:
    source:
      kind: push
      columns: {did: string, target: string, night: timestamp, width: float32, t_max: float64, path: string, sha256: string, version: int32}
      writers: [mia]
    submissions: {path: path, sha256: sha256, version: version, identity: [target, night, width],
      values: {did: DID, target: OBJECT, night: NIGHT, width: WIDTH, t_max: MJD}}
    primary: did
    access: {rows: public, take: obs_release_date <= now, path: path}
    embargo: {from: t_max, months: 12}
    columns: {did: string, target: string, night: timestamp, width: float32, t_max: {type: float64, unit: d}, path: string, sha256: string, version: int32}
  random:
    source:
      kind: push
      columns: {id: string, target: string, t_max: float64, path: string, sha256: string}
      ids: id
      writers: [mia]
    submissions: {path: path, sha256: sha256, values: {target: OBJECT, t_max: MJD}}
    primary: id
    access: {rows: public, take: obs_release_date <= now, path: path}
    embargo: {from: t_max, months: 12}
    columns: {id: string, target: string, t_max: {type: float64, unit: d}, path: string, sha256: string}
"""


def make_observation(did: str, mjd: float, **cards: object) -> bytes:
    return make_image(
        **{"DID": did, "OBJECT": "star", "NIGHT": "2014-12-08T00:00:00", "WIDTH": 0.1, "MJD": mjd, **cards}
    )


def test_dates_and_versions_of_rows_that_hven_does_not_number(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, OBSERVATIONS) as site:
        ingest_collection(site, "obs")
        site.store.users.add_account("anna")
        anna = Person(Client(create_and_start_application(site)), site, "anna")
        submission = anna.begin(
            {"1.fits": make_observation("z", 50_000.0), "2.fits": make_observation("a", 60_000.0, OBJECT="b")},
            "obs.named",
        )
        checked = read_submission(anna.take(submission, "check"))
        assert [row["released"][:4] for row in checked["report"]["rows"]] == ["1996", "2024"]
        read_submission(anna.take(checked, "submit"))
        second = anna.begin({"3.fits": make_observation("z2", 50_000.0, K=1)}, "obs.named")
        (row,) = read_submission(anna.take(second, "check"))["report"]["rows"]
        assert (row["version"], row["replaces"]) == (2, ["z"]), "times and numbers of 32 bits are compared as values"
        files = {f"{mjd}.fits": make_observation("", mjd) for mjd in (50_000.0, 60_000.0, 51_000.0)}
        checked = read_submission(anna.take(anna.begin(files, "obs.random"), "check"))
        assert [row["released"][:4] for row in checked["report"]["rows"]] == ["1996", "2024", "1999"]


def test_many_rows_of_one_target_do_not_spoil_versions(
    client: Client, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target with more rows than a query may return: the versions are counted by the data base."""
    anna = people["anna"]
    rows = [
        {"target_name": "crowd", "instrument_mode": f"M{number}", "night": "2014-12-08", "version": 3}
        for number in range(30)
    ]
    assert people["mia"].send("/push/oidb.granules", rows).status == 201
    monkeypatch.setattr(submission_workflow, "MAX_SUBMISSION_ROWS", 5)
    monkeypatch.setattr(published_rows, "QUERY_ROWS", 5)
    submission = anna.begin({f"{number}.fits": make_file("crowd", INSMODE=f"M{number}") for number in (28, 29)})
    checked = read_submission(anna.take(submission, "check"))
    assert [row["version"] for row in checked["report"]["rows"]] == [4, 4]
    monkeypatch.setattr(published_rows, "QUERY_ROWS", 1)
    refused = anna.take(checked, "check")
    assert (refused.status, "have the same identity" in refused.text) == (413, True)


def test_an_identity_has_the_submitted_values(tmp_path: Path) -> None:
    path = tmp_path / "obs.yaml"
    mapped = OBSERVATIONS.replace("primary: did", "primary: did\n    map: {target: upper(target)}")
    for text, count in ((OBSERVATIONS, 0), (mapped, 1)):
        path.write_text(text)
        messages = [
            fault.message
            for fault in check_descriptor(path, Settings(directory=tmp_path))
            if "has a mapping" in fault.message
        ]
        assert len(messages) == count, messages
