"""A copy of the source whose one module of keys has three more keys, and a program that runs over it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from shared import ROOT

KEYS_MODULE = "hven/descriptor/_keys.py"
FOLLOWING_LINE = "    engine: Impersonal[Local[Text]]\n"
NEW_KEYS = """\
    audience: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("[students, teachers]")]
    "for whom the data are: students"
    sponsor: Annotated[Mirrored[Text], KeyExample("The Crown of Denmark")]
    "who pays"
    room: Annotated[Local[int], KeyExample("7")]
    "where the plates are kept"
"""
REST = """\
collection: plates
title: Plates
tables:
  main: {primary: id, columns: {id: int32}, source: {kind: csv, file: plates.csv}}
"""
ORIGIN = f"audience: [students, teachers]\nsponsor: The Crown of Denmark\nroom: 7\n{REST}"
FAULTY = f"audience: {{students: 1}}\nroom: big\nsponser: The Crown of Denmark\n{REST}"
VALUES = {"audience": ["students", "teachers"], "sponsor": "The Crown of Denmark", "room": 7}


def run_with_new_keys(directory: Path, program: str) -> dict[str, object]:
    """Run a program over the copy of the source, and return the JSON that it prints.

    Its arguments are the directory, which has the descriptors `ORIGIN` and `FAULTY`, and the directory of the tests.
    """
    source = directory / "src"
    leave_out = shutil.ignore_patterns("__pycache__", "assets", "grounds", "proofs")
    shutil.copytree(ROOT / "src/hven", source / "hven", ignore=leave_out)
    module = source / KEYS_MODULE
    text = module.read_text(encoding="utf-8")
    assert text.count(FOLLOWING_LINE) == 1
    module.write_text(text.replace(FOLLOWING_LINE, NEW_KEYS + FOLLOWING_LINE), encoding="utf-8")
    (directory / "plates.csv").write_text("id\n1\n")
    (directory / "origin.yaml").write_text(ORIGIN)
    (directory / "faulty.yaml").write_text(FAULTY)
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory), str(ROOT / "tests")],
        env={"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, object] = json.loads(done.stdout)
    return read
