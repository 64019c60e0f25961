"""What `--dry-run` and the report tell: texts before and after, columns with names of ObsCore, files by their contents."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from promotion_sites import DESCRIPTOR, SitePair, ask, create_sites, promote_collection, read_version

from hven.ingest.api.runs import ingest_collection
from hven.model.errors import DescriptorError, StorageError
from hven.plugins.promotion.metadata_differences import shorten_change
from hven.plugins.promotion.promotion import PromotionOptions
from hven.plugins.promotion.promotion_reports import PromotionReport
from process_runner import run_hven


@pytest.fixture
def sites(tmp_path: Path) -> SitePair:
    pair = create_sites(tmp_path)
    pair.publish_version(1)
    return pair


def promote(pair: SitePair, **options: object) -> PromotionReport:
    with pair.open_dev() as dev, pair.open_gold() as gold:
        return promote_collection(dev, gold, "stars", PromotionOptions(**options))


def test_texts_are_shown_before_and_after(sites: SitePair) -> None:
    promote(sites)
    descriptor = DESCRIPTOR.replace('description: "{version}"', 'description: "Version {version} of the stars"')
    descriptor = descriptor.replace("ucd: pos.eq.dec;meta.main", "label: Dec")
    sites.publish_version(2, descriptor.replace("title: Stars {version}", "title: All stars"))
    arguments = ("promote", "stars", "--to", "gold", "--dry-run", "--site", sites.dev)
    text = run_hven(*arguments).stdout
    assert "column: stars.main.version: description '1' -> 'Version 2 of the stars'" in text
    assert "column: stars.main.dec: label none -> 'Dec'" in text
    assert "column: stars.main.dec: ucd 'pos.eq.dec;meta.main' -> none" in text
    assert "metadata of the collection: stars: title 'Stars 1' -> 'All stars'" in text
    changes = json.loads(run_hven(*arguments, "--json").stdout)["changes"]
    assert {"subject": "stars", "key": "title", "before": "Stars 1", "after": "All stars"} in changes


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("a", "b", ("'a'", "'b'")),
        ("", "b", ("none", "'b'")),
        ("x" * 50 + "old" + "y" * 50, "x" * 50 + "new" + "y" * 50, ("old", "new")),
        ("x" * 500, "x" * 500 + "end", ("'..." + "x" * 20 + "'", "'..." + "x" * 20 + "end'")),
        ("a" * 500, "b" * 500, ("'" + "a" * 160 + "...'", "'" + "b" * 160 + "...'")),
    ],
)
def test_long_texts_are_shortened_to_what_differs(before: str, after: str, expected: tuple[str, str]) -> None:
    texts = shorten_change(before, after)
    assert all(part in text for part, text in zip(expected, texts, strict=True))
    assert max(map(len, texts)) <= 168


@pytest.mark.parametrize(("person", "expected"), [("anna", "anna as hven"), ("hven", "hven"), (None, "hven")])
def test_the_person_behind_sudo_is_named(
    sites: SitePair, monkeypatch: pytest.MonkeyPatch, person: str | None, expected: str
) -> None:
    monkeypatch.setenv("LOGNAME", "hven")
    if person is None:
        monkeypatch.delenv("SUDO_USER", raising=False)
    else:
        monkeypatch.setenv("SUDO_USER", person)
    assert promote(sites).by == expected


def list_promoted_words(pair: SitePair) -> list[str]:
    """Return the texts of the second table of the public site."""
    with pair.open_gold() as gold:
        return [str(row["version"]) for row in ask(gold, "SELECT version FROM stars.facts")]


def test_an_earlier_state_is_promoted_with_the_present_descriptor(sites: SitePair) -> None:
    run_hven("release", "add", "R1", "stars", "--site", sites.dev)
    sites.publish_version(2)
    text = run_hven("promote", "stars@R1", "--to", "gold", "--site", sites.dev).stdout
    assert "stars is published in gold" in text
    assert "hven --site" in text
    assert "promote stars --to gold --back" in text
    assert list_promoted_words(sites) == ["1"]
    with sites.open_gold() as gold:
        assert gold.get_published_state().resources["stars"].title == "Stars 2"
    run_hven("promote", "stars", "--to", "gold", "--site", sites.dev)
    assert list_promoted_words(sites) == ["2"]


def test_an_earlier_state_with_other_columns_is_refused(sites: SitePair) -> None:
    run_hven("release", "add", "R1", "stars", "--site", sites.dev)
    sites.publish_version(
        2,
        DESCRIPTOR.replace(
            "{{type: float64, unit: deg, ucd: pos.eq.dec", "{{type: float32, unit: deg, ucd: pos.eq.dec"
        ),
    )
    arguments = ("promote", "stars@R1", "--to", "gold", "--site", sites.dev)
    done = run_hven(*arguments, expected_code=1)
    assert "since the state 'R1', stars.main got other columns" in done.stderr
    with sites.open_gold() as gold:
        assert not gold.published_records


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stars@R9",), "has no state 'R9'"),
        (("stars@R1", "--back"), "omit @ and the state"),
        (("stars@R1", "stars"), "named twice"),
    ],
)
def test_states_that_cannot_be_promoted_are_refused(sites: SitePair, arguments: tuple[str, ...], message: str) -> None:
    command = ("promote", *arguments, "--to", "gold", "--site", sites.dev)
    done = run_hven(*command, expected_code=1 if arguments == ("stars@R9",) else 2)
    assert message in done.stderr


def publish_observing_log(pair: SitePair, table_keys: str = "") -> None:
    """Publish a table of visits: three columns have names of ObsCore, and t_min is a time instead of a number."""
    directory = pair.dev / "collections/stars"
    columns = (
        "{id: {type: int32}, target_name: {type: string}, t_min: {type: timestamp}, instrument_name: {type: string}}"
    )
    (directory / "stars.yaml").write_text(
        "collection: stars\ntitle: Visits\ntables:\n  main:\n    primary: id\n"
        f"    columns: {columns}\n{table_keys}    source: {{kind: csv, files: main.csv}}\n"
    )
    (directory / "main.csv").write_text("id,target_name,t_min,instrument_name\n1,Vega,2020-01-01T00:00:00,X\n")
    with pair.open_dev() as site:
        ingest_collection(site, "stars")


def test_tables_that_are_no_obscore_are_promoted_with_a_warning(sites: SitePair) -> None:
    publish_observing_log(sites)
    report = promote(sites)
    assert report.run is not None
    assert any("stars.main.t_min has values of the kind 'text', but in ObsCore" in text for text in report.warnings)


def test_repetitions_of_a_row_arrive(sites: SitePair) -> None:
    """A table without a key can have the same row several times."""
    promote(sites)
    for count in (3, 2):
        rows = "version\n" + "1\n" * count
        (sites.dev / "collections/stars/facts.csv").write_text(rows)
        with sites.open_dev() as dev:
            ingest_collection(dev, "stars")
        report = promote(sites)
        assert [table.record.table.name for table in report.tables if table.has_changes] == ["facts"]
        with sites.open_gold() as gold:
            assert ask(gold, "SELECT version FROM stars.facts") == [{"version": 1}] * count
    assert promote(sites).run is None


def test_files_are_compared_by_contents_on_request(sites: SitePair) -> None:
    """`rsync -t` of an edited cube keeps its time, and its size is that of the pixels."""
    promote(sites)
    path = sites.dev / "collections/stars/note.txt"
    status = path.stat()
    path.write_text("X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert promote(sites).run is None
    assert promote(sites, must_compare_contents=True).metadata.files.changed == ["note.txt"]
    assert (sites.gold / "collections/stars/note.txt").read_text() == "X"
    text = run_hven("promote", "stars", "--to", "gold", "--checksum", "--site", sites.dev).stdout
    assert "is the same on both sites" in text


def test_files_that_do_not_fit_are_refused_before_the_first_is_copied(
    sites: SitePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(sites)
    sites.publish_version(2)
    monkeypatch.setattr(shutil, "copy2", lambda *_: pytest.fail("a file was copied"))
    monkeypatch.setattr(
        "hven.plugins.promotion.pinned_directories.shutil.disk_usage", lambda _: SimpleNamespace(free=10)
    )
    with pytest.raises(StorageError, match=r"the files need [0-9,]+ bytes, but the disk has only 10 free bytes"):
        promote(sites)
    monkeypatch.undo()
    with sites.open_gold() as gold:
        assert read_version(gold) == 1


def test_a_number_as_region_is_still_refused(sites: SitePair) -> None:
    directory = sites.dev / "collections/stars"
    (directory / "stars.yaml").write_text(
        "collection: stars\ntitle: Visits\ntables:\n  main:\n    primary: id\n"
        "    columns: {id: {type: int32}, s_region: {type: float64}}\n    source: {kind: csv, files: main.csv}\n"
    )
    (directory / "main.csv").write_text("id,s_region\n1,3.5\n")
    with sites.open_dev() as site:
        ingest_collection(site, "stars")
    with pytest.raises(DescriptorError, match="s_region has values of the kind 'number'"):
        promote(sites)
