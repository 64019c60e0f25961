"""The key of joint searches: each fault has its place, its words and a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from hven.descriptor import check_descriptor
from hven.model.settings import load_settings

DESCRIPTOR = """\
collection: oidb
title: Observations
joint_search: {KEY}
tables:
  main:
    source: rows.csv
    columns: {n: int32, name: string}
"""


def find_faults(directory: Path, key: str) -> list[str]:
    folder = directory / "collections/oidb"
    folder.mkdir(parents=True)
    (folder / "oidb.yaml").write_text(DESCRIPTOR.replace("{KEY}", key), encoding="utf-8")
    (folder / "rows.csv").write_text("n,name\n1,a\n", encoding="utf-8")
    (directory / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    return [str(fault) for fault in check_descriptor(folder / "oidb.yaml", load_settings(directory))]


@pytest.mark.parametrize(
    "key",
    [
        "{tables: {a: oidb.main}, fields: {name: {}}}",
        "{title: {en: A, fr: B}, tables: {a: {table: oidb.main, label: rows}, b: other.rows}, fields: {name: name}}",
        "{tables: {a: oidb.main}, fields: {kind: {column: name, choices: {A: a, B: {where: {n: 1..2}, label: Two}}}}}",
        "{tables: {a: oidb.main}, fields: {n: {columns: {a: n}, colours: [1, 2]}}}",
    ],
)
def test_right_keys(tmp_path: Path, key: str) -> None:
    assert find_faults(tmp_path, key) == []


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("{tables: {a: main}, fields: {n: n}}", "'main' is not a table with its collection"),
        ("{tables: {A-B: oidb.main}, fields: {n: n}}", "cannot be a part of addresses"),
        ("{tables: {a: oidb.main}, fields: {row_key: n}}", "cannot be a part of addresses"),
        ("{tables: {a: oidb.main}, fields: {n: {columns: {b: n}}}}", "there is no table 'b'"),
        ("{tables: {a: oidb.main}, fields: {n: {choices: {A: {label: x}}}}}", "needs either `value` or `where`"),
        ("{tables: {a: oidb.main}, fields: {n: {colours: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}}", "only 8 colours"),
        ("{tables: {}, fields: {n: n}}", "joint_search"),
        ("{fields: {n: n}}", "tables"),
        ("{tables: {a: oidb.main}}", "fields"),
        ("[1]", "joint_search"),
    ],
)
def test_wrong_keys(tmp_path: Path, key: str, words: str) -> None:
    faults = find_faults(tmp_path, key)
    assert any(words in fault for fault in faults), faults
