"""Links among the files of a source: those that a pattern happens to meet must stay where the descriptor or the site says."""

from __future__ import annotations

import pytest

from hven.model.errors import SourceError
from hven.sources import SourceContext, csv


def read(directory, files, *roots):
    opened = csv.open(csv.Options(files=files), SourceContext(directory=directory, allowed_roots=roots))
    return sum(batch.num_rows for batch in opened.read_batches())


def test_links_found_by_a_pattern_may_not_lead_outside(tmp_path):
    inside, outside, other = tmp_path / "collection", tmp_path / "outside", tmp_path / "other"
    for directory in (inside, outside, other):
        directory.mkdir()
        (directory / "data").mkdir()
        (directory / "data" / "a.csv").write_text("x\n1\n")
    (inside / "data" / "b.csv").symlink_to(inside / "data" / "a.csv")
    assert read(inside, "data/*.csv") == 2
    (inside / "big").symlink_to(outside / "data")  # the curator names it
    assert read(inside, "big/*.csv") == 1
    assert read(inside, str(outside / "data" / "*.csv")) == 1
    (outside / "data" / "c.csv").symlink_to(other / "data" / "a.csv")  # somebody who may write there put it there
    with pytest.raises(SourceError, match=r"c\.csv is a link to a file outside the collection; .*roots = "):
        read(inside, "big/*.csv")
    with pytest.raises(SourceError, match="is a link"):
        read(inside, "big/c*.csv")
    assert read(inside, "big/*.csv", other) == 2
