"""Files of a run: two tables of the same files look at their directory once, and what changes meanwhile is read the next time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.errors import SourceError
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.sources import SourceContext, files
from hven.testing.site import open_site_with_uningested_files

SITE = """\
collection: days
title: Days
files: data/*
tables:
  main:
    source: {kind: csv, files: data/*}
    primary: [name, n]
    columns: {name: string, n: int32}
    map: {name: file.name, n: n}
    sync: {}
"""


def rows(site: Site, adql: str) -> list[dict[str, Any]]:
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()


def day(data: Path, name: str, *numbers: int) -> None:
    (data / name).write_text("\n".join(["n", *map(str, numbers), ""]))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the directories that are looked at, with a slash, and the files that are asked for one by one."""
    seen: list[str] = []
    scandir, stat = os.scandir, os.stat
    monkeypatch.setattr(os, "scandir", lambda place=".": (seen.append(f"{place}/"), scandir(place))[1])
    monkeypatch.setattr(os, "stat", lambda place, **more: (seen.append(str(place)), stat(place, **more))[1])
    return seen


def test_a_run_lists_files_once_and_reads_only_new_ones(tmp_path: Path, looks: list[str]) -> None:
    with open_site_with_uningested_files(tmp_path, SITE) as site:
        data = site.settings.collections_directory / "days/data"
        data.mkdir()
        for number in range(20):
            day(data, f"{number:02}.csv", number)
        ingest_collection(site, "days")
        day(data, "20.csv", 20)
        day(data, "03.csv", 3, 33)
        (data / "07.csv").unlink()
        looks.clear()
        sync_collection(site, "days", accept_changes=True)
        assert looks.count(f"{data}/") == 1
        named = {Path(one).name for one in looks if one.startswith(f"{data}/") and one[-1] not in "/*"}
        assert named == {"03.csv", "20.csv"}
        wanted = sorted([*({*range(21)} - {7}), 33])
        assert [row["n"] for row in rows(site, "SELECT n FROM days.main ORDER BY n")] == wanted
        there = [row["path"] for row in rows(site, "SELECT path FROM days.files ORDER BY path")]
        assert there == [f"data/{number:02}.csv" for number in range(21) if number != 7]
        looks.clear()
        assert not sync_collection(site, "days").published
        assert {one for one in looks if one.startswith(f"{data}/")} <= {f"{data}/", f"{data}/*"}  # which may be a file


def test_files_changed_during_a_run_are_read_in_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first table of a run and the second one a file is written again, and another one goes."""
    with open_site_with_uningested_files(tmp_path, SITE) as site:
        data = site.settings.collections_directory / "days/data"
        data.mkdir()
        for number in range(3):
            day(data, f"{number}.csv", number)
        sync_collection(site, "days")
        day(data, "3.csv", 3)
        opened, meanwhile = files.open, [True]

        def later(options: files.Options, context: SourceContext) -> Any:
            if meanwhile and context.run_name:
                meanwhile.clear()
                day(data, "3.csv", 3, 30)
                day(data, "1.csv", 1, 10)
            return opened(options, context)

        monkeypatch.setattr(files, "open", later)
        sync_collection(site, "days")
        assert not meanwhile
        sync_collection(site, "days")
        assert [row["n"] for row in rows(site, "SELECT n FROM days.main ORDER BY n")] == [0, 1, 2, 3, 10, 30]
        sizes = {row["path"]: row["bytes"] for row in rows(site, "SELECT path, bytes FROM days.files")}
        assert sizes == {f"data/{number}.csv": (data / f"{number}.csv").stat().st_size for number in range(4)}


def test_links_and_folders_of_a_listing(tmp_path: Path) -> None:
    """A list of files is given to everybody: no link leads out of it, whoever wrote its pattern; what cannot be looked at is not gone."""
    inside, outside = tmp_path / "collection", tmp_path / "outside"
    for directory in (inside, outside):
        (directory / "data").mkdir(parents=True)
        (directory / "data" / "a.csv").write_text("x")
    options = files.Options.model_validate({"files": "data/*"})
    (inside / "data" / "b.csv").symlink_to(inside / "data" / "a.csv")
    assert files.open(options, SourceContext(directory=inside)).list_files().column("name").to_pylist() == ["data/a.csv", "data/b.csv"]  # type: ignore[attr-defined]  # fmt: skip
    (inside / "data" / "c.csv").symlink_to(outside / "data" / "a.csv")
    with pytest.raises(SourceError, match=r"c\.csv is a link to a file outside the collection"):
        files.open(options, SourceContext(directory=inside))
    (inside / "data" / "c.csv").unlink()
    (inside / "far").symlink_to(outside / "data")
    with pytest.raises(SourceError, match=r"far/a\.csv is a link to a file outside"):
        files.open(files.Options.model_validate({"files": "far/*"}), SourceContext(directory=inside))
    source = files.open(options, SourceContext(directory=inside))
    (inside / "data" / "b.csv").unlink()
    with pytest.raises(SourceError, match=r"^data/b\.csv cannot be read"):
        source.list_files()  # type: ignore[attr-defined]
