"""The key of progress: each fault has its place, its words and a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from hven.descriptor import check_descriptor
from hven.model.settings import load_settings

DESCRIPTOR = """\
collection: survey
title: A survey
tables:
  targets:
    source: targets.csv
    progress: {KEY}
    columns:
      n: int32
      state: {type: string, enum: states}
      width: float64
      seen: timestamp
      mjd: {type: float64, unit: d, ucd: time.epoch}
    enums: {states: {p: planned, o: observed}}
"""


def find_faults(directory: Path, key: str) -> list[str]:
    folder = directory / "collections/survey"
    folder.mkdir(parents=True)
    (folder / "survey.yaml").write_text(DESCRIPTOR.replace("{KEY}", key), encoding="utf-8")
    (folder / "targets.csv").write_text("n,state,width,seen,mjd\n1,p,2.5,2026-01-01,61000\n", encoding="utf-8")
    (directory / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    return [str(fault) for fault in check_descriptor(folder / "survey.yaml", load_settings(directory))]


@pytest.mark.parametrize(
    "key",
    [
        "{column: state}",
        "{column: n, stages: ['1', '2'], by: state}",
        "{calendar: seen}",
        "{column: state, calendar: mjd}",
    ],
)
def test_right_keys(tmp_path: Path, key: str) -> None:
    assert find_faults(tmp_path, key) == []


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("{}", "both `column` and `calendar` are missing"),
        ("{by: state}", "`column` is missing"),
        ("{calendar: seen, stages: [a]}", "Hven cannot count stages"),
        ("{column: stat}", "the table has no column 'stat'"),
        ("{column: state, by: nothing}", "progress.by: the table has no column 'nothing'"),
        ("{column: width, stages: ['1']}", "'width' is float64, so Hven cannot count its values"),
        ("{column: n}", "does not know the order of the stages of 'n'"),
        ("{calendar: width}", "'width' is not a time"),
        ("{calendar: state}", "'state' is not a time"),
        ("{column: state, stages: [p, p]}", "'p' is listed twice"),
        ("{column: state, stages: [a, b, c, d, e, f, g, h, i]}", "there are 9 stages"),
        ("{stage: state}", "column"),
        ("soon", "progress"),
    ],
)
def test_faults_say_what_is_wrong(tmp_path: Path, key: str, words: str) -> None:
    faults = find_faults(tmp_path, key)
    assert faults
    assert any(words in fault for fault in faults), faults
    assert all("survey.yaml:6" in fault for fault in faults), faults
