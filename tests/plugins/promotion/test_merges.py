"""Promotions to a target that is ahead: what only the target changed is kept, and what both changed is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from promotion_sites import DESCRIPTOR, SitePair, ask, create_sites, promote_collection, return_to_earlier_publication

from hven.ingest.api.runs import ingest_collection
from hven.model.errors import ConflictError
from hven.plugins.promotion import three_way_merge
from hven.plugins.promotion.metadata_differences import MetadataDifference
from hven.plugins.promotion.promotion import PromotionOptions
from hven.plugins.promotion.promotion_reports import PromotionReport, TablePromotion
from hven.plugins.promotion.row_copies import build_row_hashes, compare_rows

MERGE = {"may_merge": True}


@pytest.fixture
def sites(tmp_path: Path) -> SitePair:
    pair = create_sites(tmp_path, "keep_snapshots = 9\n")
    pair.publish_version(1, DESCRIPTOR.replace("title: Stars {version}", "title: Stars {version}\ndescription: All"))
    promote(pair)
    return pair


def promote(pair: SitePair, **options: bool) -> PromotionReport:
    with pair.open_dev() as dev, pair.open_gold() as gold:
        return promote_collection(dev, gold, "stars", PromotionOptions(**options))


def change_file(path: Path, text: str) -> None:
    """Replace a file as an editor does; promoted files are read-only and may share their content with earlier ones."""
    path.unlink()
    path.write_text(text)


def change_rows(directory: Path, changes: dict[int, str | None]) -> None:
    """Change or remove rows of the main table by their numbers."""
    path = directory / "collections/stars/main.csv"
    lines = path.read_text().splitlines()
    rows = {int(line.partition(",")[0]): line for line in lines[1:]}
    for number, values in changes.items():
        if values is None:
            del rows[number]
        else:
            rows[number] = f"{number},{values}"
    change_file(path, "\n".join([lines[0], *rows.values()]) + "\n")


def ingest(pair: SitePair, *, on_gold: bool = False) -> None:
    with pair.open_gold() if on_gold else pair.open_dev() as site:
        ingest_collection(site, "stars")


def read_rows(pair: SitePair, *, on_gold: bool = True) -> dict[int, tuple[float, float, int]]:
    with pair.open_gold() if on_gold else pair.open_dev() as site:
        return {row["id"]: (row["ra"], row["dec"], row["version"]) for row in ask(site, "SELECT * FROM stars.main")}


def test_rows_that_only_the_target_changed_are_kept(sites: SitePair) -> None:
    before = read_rows(sites)
    change_rows(sites.gold, {10: "1,2,77", 20: None, 9000: "3,4,78"})
    ingest(sites, on_gold=True)
    change_rows(sites.dev, {11: "5,6,79", 21: None, 9001: "7,8,80"})
    ingest(sites)
    with pytest.raises(ConflictError, match=r"stars\.main .*1 rows added, 1 changed, 1 removed") as caught:
        promote(sites)
    assert "--merge" in str(caught.value)
    report = promote(sites, **MERGE)
    assert "3 rows of stars.main" in report.kept_changes
    main = next(table for table in report.tables if table.record.table.name == "main")
    assert (main.copied_rows, main.kept_rows) == (2, 3)
    expected = before | {10: (1, 2, 77), 9000: (3, 4, 78), 11: (5, 6, 79), 9001: (7, 8, 80)}
    del expected[20], expected[21]
    assert read_rows(sites) == expected

    # the next promotion compares with what the source site had then, although the target publishes other rows
    change_rows(sites.dev, {12: "9,9,81"})
    ingest(sites)
    with pytest.raises(ConflictError, match="has rows that were changed there before the promotion"):
        promote(sites)
    promote(sites, **MERGE)
    assert read_rows(sites) == expected | {12: (9, 9, 81)}
    assert promote(sites, **MERGE).run is None, "nothing new"
    with sites.open_gold() as gold:
        return_to_earlier_publication(gold, "stars")
    assert read_rows(sites) == expected

    # the source site takes the same changes: the target is not ahead any more
    promote(sites, **MERGE)
    change_rows(sites.dev, {10: "1,2,77", 20: None, 9000: "3,4,78"})
    ingest(sites)
    assert promote(sites).run is not None
    assert promote(sites).run is None
    change_rows(sites.dev, {13: "1,1,82"})
    ingest(sites)
    promote(sites)
    assert read_rows(sites) == read_rows(sites, on_gold=False)


def test_rows_that_both_sites_changed_are_named(sites: SitePair) -> None:
    change_rows(sites.gold, {10: "1,2,77", 20: None, 30: "1,1,1"})
    ingest(sites, on_gold=True)
    change_rows(sites.dev, {10: "1,2,78", 20: "5,5,5", 30: None, 31: "2,2,2"})
    ingest(sites)
    before = read_rows(sites)
    with pytest.raises(ConflictError) as caught:
        promote(sites, **MERGE)
    text = str(caught.value)
    assert "3 rows of stars.main were changed on both sites: " in text
    for key in ("id 10", "id 20", "id 30"):
        assert key in text
    assert "--overwrite" in text
    assert read_rows(sites) == before
    promote(sites, may_overwrite=True)
    assert read_rows(sites) == read_rows(sites, on_gold=False)


def test_texts_that_only_the_target_changed_are_kept(sites: SitePair) -> None:
    gold_path = sites.gold / "collections/stars/stars.yaml"
    text = gold_path.read_text().replace("description: All", "description: What curators wrote")
    change_file(gold_path, text.replace("  facts:\n", "  facts:\n    title: Facts\n"))
    dev_path = sites.dev / "collections/stars/stars.yaml"
    dev_path.write_text(dev_path.read_text().replace("title: Stars 1", "title: New stars"))
    report = promote(sites, **MERGE)
    assert report.kept_changes == ["stars.yaml: description", "stars.yaml: tables.facts.title"]
    with sites.open_gold() as gold:
        resource = gold.refresh_published_state().resources["stars"]
        assert (resource.title, resource.description) == ("New stars", "What curators wrote")
    dev_path.write_text(dev_path.read_text().replace("title: New stars", "title: Newer stars"))
    with pytest.raises(ConflictError, match="has texts or files that were changed there"):
        promote(sites)
    promote(sites, **MERGE)
    with sites.open_gold() as gold:
        resource = gold.refresh_published_state().resources["stars"]
        assert (resource.title, resource.description) == ("Newer stars", "What curators wrote")
    assert promote(sites, **MERGE).run is None


def test_texts_that_both_sites_changed_are_named_with_their_line(sites: SitePair) -> None:
    gold_path = sites.gold / "collections/stars/stars.yaml"
    change_file(gold_path, gold_path.read_text().replace("description: All", "description: Theirs"))
    dev_path = sites.dev / "collections/stars/stars.yaml"
    dev_path.write_text(dev_path.read_text().replace("description: All", "description: Ours"))
    with pytest.raises(ConflictError, match=r"description \(line 3\) is 'Theirs' on the target and 'Ours'"):
        promote(sites, **MERGE)
    with sites.open_gold() as gold:
        assert gold.refresh_published_state().resources["stars"].description == "Theirs"


def test_files_that_only_the_target_changed_are_kept(sites: SitePair) -> None:
    change_file(sites.gold / "collections/stars/note.txt", "a note of the public site")
    (sites.gold / "collections/stars/added.txt").write_text("one more")
    gold_path = sites.gold / "collections/stars/stars.yaml"
    change_file(gold_path, gold_path.read_text().replace("description: All", "description: Theirs"))
    (sites.dev / "collections/stars/other.txt").write_text("from the test site")
    report = promote(sites, **MERGE)
    assert {"the file note.txt", "the file added.txt"} <= set(report.kept_changes)
    directory = sites.gold / "collections/stars"
    names = ("note.txt", "added.txt", "other.txt")
    assert [(directory / name).read_text() for name in names] == [
        "a note of the public site",
        "one more",
        "from the test site",
    ]
    (sites.dev / "collections/stars/note.txt").write_text("another note")
    with pytest.raises(ConflictError, match=r"the file note\.txt was changed on both sites"):
        promote(sites, **MERGE)


class MemoryRows:
    """Rows that are in memory: a number as the key, and a value."""

    def __init__(self, values: dict[int, int]) -> None:
        self.values = values
        self.table: Any = type("Table", (), {"primary": ("key",), "qualified_name": "a.b", "name": "b"})()

    def select_batches(self, mask: Any, column_names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        keys = np.array(list(self.values), np.int64)[mask]
        yield pa.record_batch([pa.array(keys)], names=list(column_names))

    def compute_hashes(self) -> Any:
        keys = np.array([key * 0x9E3779B97F4A7C15 % 2**64 for key in self.values], np.uint64)
        values = np.array([hash((key, value)) % 2**64 for key, value in self.values.items()], np.uint64)
        return build_row_hashes(keys, values)


STATES = st.dictionaries(st.integers(0, 8), st.integers(0, 3))


@given(base=STATES, origin=STATES, target=STATES)
def test_merged_rows_are_those_of_a_merge_key_by_key(
    base: dict[int, int], origin: dict[int, int], target: dict[int, int]
) -> None:
    own_rows, target_rows = MemoryRows(origin), MemoryRows(target)
    table = TablePromotion(
        record=own_rows,  # type: ignore[arg-type]
        origin=own_rows,  # type: ignore[arg-type]
        source_hashes=own_rows.compute_hashes(),
        target=target_rows,  # type: ignore[arg-type]
        target_hashes=target_rows.compute_hashes(),
    )
    assert table.target_hashes is not None
    table.difference = compare_rows(table.source_hashes, table.target_hashes)
    report = PromotionReport(collection="a", tables=[table], metadata=MetadataDifference())
    three_way_merge.merge_rows(table, MemoryRows(base).compute_hashes(), report)

    merged, conflicts = dict[int, int](), set[int]()
    for key in base.keys() | origin.keys() | target.keys():
        values = [rows.get(key) for rows in (base, origin, target)]
        if values[1] == values[2] or values[2] == values[0]:
            value = values[1]
        elif values[1] == values[0]:
            value = values[2]
        else:
            conflicts.add(key)
            value = values[2]
        if value is not None:
            merged[key] = value
    assert bool(report.conflicts) == bool(conflicts)
    assert table.difference is not None
    kept_mask = ~(table.difference.removed | table.difference.replaced)
    result = {key: value for (key, value), is_kept in zip(target.items(), kept_mask, strict=True) if is_kept}
    result |= {
        key: value for (key, value), is_new in zip(origin.items(), table.difference.written, strict=True) if is_new
    }
    if not conflicts:
        assert result == merged
        expected = table.expected_hashes or table.source_hashes
        assert expected.digest == MemoryRows(merged).compute_hashes().digest
