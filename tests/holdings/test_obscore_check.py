"""What ``obscore:`` says is computed when it is asked: the check refuses what only an ingest can compute."""

from __future__ import annotations

import pytest

from hven.descriptor import check_descriptor
from hven.model.settings import Settings

DESCRIPTOR = """\
collection: images
title: Images
tables:
  main:
    source: {{kind: csv, files: rows.csv}}
    primary: ident
    columns: {{ident: {{type: string, description: Name}}, start: {{type: string, description: Begin}}}}
    obscore:
      set: {{dataproduct_type: image, calib_level: 2}}
      map:
        {line}
"""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "obs_publisher_did: \"'ivo://x.org/images?' || url_encode(ident)\"",
            "obs_publisher_did: the function 'url_encode' works only at ingest",
        ),
        ("t_min: mjd(parse_time(start))", "t_min: the function 'parse_time' works only at ingest"),
        ("target_name: target_name(ident)", "target_name: the function 'target_name' works only at ingest"),
    ],
)
def test_functions_of_the_ingest(tmp_path, line, told):
    place = tmp_path / "collections" / "images"
    place.mkdir(parents=True)
    (place / "images.yaml").write_text(DESCRIPTOR.format(line=line))
    (place / "rows.csv").write_text("ident,start\na b,2004-01-01\n")
    (fault,) = [
        fault
        for fault in check_descriptor(place / "images.yaml", Settings(directory=tmp_path))
        if fault.severity == "error"
    ]
    assert told in fault.message
    assert fault.place.line == 11
    assert "a column of the table" in fault.remedy


def test_what_queries_can_compute_passes(tmp_path):
    place = tmp_path / "collections" / "images"
    place.mkdir(parents=True)
    (place / "images.yaml").write_text(DESCRIPTOR.format(line="target_name: upper(ident)"))
    (place / "rows.csv").write_text("ident,start\na b,2004-01-01\n")
    assert [
        fault
        for fault in check_descriptor(place / "images.yaml", Settings(directory=tmp_path))
        if fault.severity == "error"
    ] == []
