"""Whatever stands in a descriptor, `check_descriptor` answers with faults, never with a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hven.descriptor import check_descriptor
from hven.model.settings import Settings
from shared import EXAMPLES_FACTOR

CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "descriptors"
TEXTS = {
    path.name: path.read_text()
    for kind in ("good", "bad")
    for path in sorted((CORPUS / kind).glob("*.yaml"))
    if not path.name.startswith("bytes")
}
PIECES = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    "'",
    '"',
    ",",
    "(",
    ")",
    "- ",
    "\n",
    "  ",
    "#",
    " #",
    "&a ",
    "*a",
    "null",
    "~",
    "010",
    "yes",
    "{x}",
    "{{",
    "target.",
    "!!str ",
    "|",
    ">",
    "é",
    "\t",
    "0",
    "-1",
    "? ",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fuzz")
    home = directory / "collections" / "x"
    shutil.copytree(CORPUS / "good", home)
    shutil.copytree(CORPUS / "bad", home, dirs_exist_ok=True)
    return Settings(directory=directory)


@settings(max_examples=120 * EXAMPLES_FACTOR)
@given(
    name=st.sampled_from(sorted(TEXTS)),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 12), st.sampled_from(["", *PIECES])),
        min_size=1,
        max_size=4,
    ),
)
def test_changed_at_random(site, name, changes):
    text = TEXTS[name]
    for where, length, piece in changes:
        at = int(where * len(text))
        text = text[:at] + piece + text[at + length :]
    path = site.collections_directory / "x" / "x.yaml"
    path.write_text(text, encoding="utf-8")
    for fault in check_descriptor(path, site):
        assert fault.message
        assert fault.place.file


@settings(max_examples=40 * EXAMPLES_FACTOR)
@given(name=st.sampled_from(sorted(TEXTS)), gone=st.integers(0, 60), times=st.integers(1, 3))
@example(name="sketch.yaml", gone=12, times=3)  # a link leads to a table that has no source
def test_lines_lost(site, name, gone, times):
    lines = TEXTS[name].splitlines(keepends=True)
    at = gone % max(len(lines), 1)
    path = site.collections_directory / "x" / "x.yaml"
    path.write_text("".join(lines[:at] + lines[at + times :]), encoding="utf-8")
    check_descriptor(path, site)
