"""Promotions between two sites with the embedded engine: what differs, what travels, what is refused, and the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from asgi_client import Client
from promotion_sites import (
    DESCRIPTOR,
    SitePair,
    ask,
    count_rows_of_version,
    create_sites,
    promote_collection,
    read_version,
    return_to_earlier_publication,
)

from hven import query
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model.errors import ConflictError, DescriptorError, NotFoundError
from hven.plugins.promotion import collection_runs, promotion
from hven.plugins.promotion.collection_states import read_collection_state, read_own_state
from hven.plugins.promotion.promotion import PromotionOptions
from hven.plugins.promotion.promotion_reports import PromotionReport, compare_sites
from hven.plugins.promotion.row_copies import stage_rows
from hven.site.auth import Principal
from process_runner import run_hven


@pytest.fixture
def sites(tmp_path: Path) -> SitePair:
    pair = create_sites(tmp_path)
    pair.publish_version(1)
    return pair


def promote(pair: SitePair, **options: object) -> PromotionReport:
    with pair.open_dev() as dev, pair.open_gold() as gold:
        return promote_collection(dev, gold, "stars", PromotionOptions(**options))


def publish_and_promote(pair: SitePair, version: int, descriptor: str = DESCRIPTOR) -> PromotionReport:
    pair.publish_version(version, descriptor)
    return promote(pair)


def test_rows_metadata_and_files_arrive_together(sites: SitePair) -> None:
    report = promote(sites)
    assert {table.copied_rows for table in report.tables} == {count_rows_of_version(1), 1}
    with sites.open_gold() as gold:
        assert read_version(gold) == 1
        resource = gold.get_published_state().resources["stars"]
        assert resource.title == "Stars 1"
        assert (resource.path.parent / "note.txt").read_text() == "1"
    assert (sites.gold / "collections/stars").resolve() == resource.path.parent.resolve()


def test_only_rows_that_differ_travel(sites: SitePair) -> None:
    promote(sites)
    report = publish_and_promote(sites, 3)
    tables = {table.record.table.name: table for table in report.tables}
    main = tables["main"]
    assert main.difference is not None
    assert (main.difference.added, main.difference.changed, main.difference.removed_count) == (2, 3, 0)
    assert main.copied_rows == 5
    assert main.difference.equal_blocks >= 16_379
    assert main.difference.samples["written"][0] == {"id": 0}
    report = publish_and_promote(sites, 1)
    difference = next(table.difference for table in report.tables if table.record.table.name == "main")
    assert difference is not None
    assert (difference.added, difference.changed, difference.removed_count) == (0, 3, 2)
    assert difference.samples["removed"] == [{"id": 402}, {"id": 403}] or {
        row["id"] for row in difference.samples["removed"]
    } == {401, 402}


def test_the_copies_are_equal_row_by_row(sites: SitePair) -> None:
    promote(sites)
    publish_and_promote(sites, 5)
    with sites.open_dev() as dev, sites.open_gold() as gold:
        for table in ("main", "facts"):
            rows = [sorted(map(str, ask(site, f"SELECT * FROM stars.{table}"))) for site in (dev, gold)]
            assert rows[0] == rows[1]


def test_metadata_alone_copies_no_row_of_a_table_with_a_key(sites: SitePair) -> None:
    promote(sites)
    path = sites.dev / "collections/stars/stars.yaml"
    path.write_text(path.read_text().replace("unit: deg, ucd: pos.eq.ra", "unit: arcsec, ucd: pos.eq.ra"))
    report = promote(sites)
    assert [table.copied_rows for table in report.tables if table.origin.table.primary] == [0]
    assert "stars.main.ra: unit deg -> arcsec" in report.metadata.columns
    assert report.metadata.files.changed == ["stars.yaml"]
    assert report.copied_files == 1
    with sites.open_gold() as gold:
        rows = ask(gold, "SELECT unit FROM TAP_SCHEMA.columns WHERE table_name = 'stars.main' AND column_name = 'ra'")
        assert rows == [{"unit": "arcsec"}]


def test_nothing_is_published_if_nothing_differs(sites: SitePair) -> None:
    promote(sites)
    with sites.open_gold() as gold:
        before = gold.store.get_version()
    report = promote(sites)
    assert report.run is None
    with sites.open_gold() as gold:
        assert gold.store.get_version() == before


def test_back_returns_rows_metadata_and_files(sites: SitePair) -> None:
    promote(sites)
    publish_and_promote(sites, 2)
    with sites.open_gold() as gold:
        report = return_to_earlier_publication(gold, "stars")
        assert read_version(gold) == 1
        resource = gold.get_published_state().resources["stars"]
        assert (resource.path.parent / "note.txt").read_text() == "1"
        assert report.tables["stars.main"] == (count_rows_of_version(1), True)
    assert (sites.gold / "collections/stars/note.txt").read_text() == "1"
    assert promote(sites).run is not None  # a state to which --back returned is no change of the target
    with sites.open_gold() as gold:
        assert read_version(gold) == 2


def test_schedules_of_the_target_leave_a_promoted_collection(sites: SitePair) -> None:
    promote(sites)
    with sites.open_gold() as gold:
        assert "stars" in gold.store.map_hold_start_times()


def test_a_target_that_is_ahead_is_refused_with_the_difference(sites: SitePair) -> None:
    promote(sites)
    path = sites.gold / "collections/stars/main.csv"
    path.chmod(0o644)
    lines = path.read_text().splitlines()
    path.unlink()
    path.write_text("\n".join([*lines[:-1], "9000,1,1,0"]) + "\n")
    with sites.open_gold() as gold:
        ingest_collection(gold, "stars")
    with pytest.raises(ConflictError, match=r"stars\.main .*1 rows added, 0 changed, 1 removed") as caught:
        promote(sites)
    assert "--overwrite" in str(caught.value)
    with sites.open_dev() as dev, sites.open_gold() as gold:
        report = compare_sites(read_own_state(dev, "stars"), read_collection_state(gold, "stars"))
        assert report.foreign_changes
        assert ask(gold, "SELECT id FROM stars.main WHERE id = 9000")
    promote(sites, may_overwrite=True)
    with sites.open_gold() as gold:
        assert not ask(gold, "SELECT id FROM stars.main WHERE id = 9000")
        return_to_earlier_publication(gold, "stars")
        assert ask(gold, "SELECT id FROM stars.main WHERE id = 9000")


def test_a_descriptor_that_was_edited_on_the_target_is_a_change_of_the_target(sites: SitePair) -> None:
    promote(sites)
    path = sites.gold / "collections/stars/stars.yaml"
    text = path.read_text()
    path.unlink()
    path.write_text(text.replace("Stars 1", "My stars"))
    with pytest.raises(ConflictError, match="was edited after the promotion"):
        promote(sites)


def test_the_state_that_the_target_had_of_its_own_comes_back(sites: SitePair) -> None:
    other = SitePair(dev=sites.gold, gold=sites.dev)
    other.publish_version(6)
    with pytest.raises(ConflictError, match=r"stars\.facts was published there by the run"):
        promote(sites)
    promote(sites, may_overwrite=True)
    with sites.open_gold() as gold:
        assert read_version(gold) == 1
        return_to_earlier_publication(gold, "stars")
        assert read_version(gold) == 6
        resource = gold.get_published_state().resources["stars"]
        assert (resource.path.parent / "note.txt").read_text() == "6"
    (kept,) = (sites.gold / "collections").glob("stars.replaced-*")
    assert (kept / "note.txt").read_text() == "6"


def test_a_target_with_the_same_state_of_its_own_is_taken_over(sites: SitePair) -> None:
    other = SitePair(dev=sites.gold, gold=sites.dev)
    other.publish_version(1)
    report = promote(sites)
    assert report.foreign_changes
    assert not report.has_changes
    assert promote(sites).run is None
    publish_and_promote(sites, 2)  # it is no longer ahead
    with sites.open_gold() as gold:
        assert read_version(gold) == 2


def test_metadata_that_come_from_the_source_arrive(sites: SitePair) -> None:
    promote(sites)
    with sites.open_dev() as dev:
        record = dev.store.read_published_records()[1]["stars.main"]
        columns = tuple(column.copy_with(label=f"label of {column.name}") for column in record.table.columns)
        dev.store.update_snapshot_records([replace(record, table=record.table.copy_with(columns=columns))])
    report = promote(sites)
    assert [table.copied_rows for table in report.tables if table.is_described_differently] == [0]
    with sites.open_gold() as gold:
        assert gold.store.read_published_records()[1]["stars.main"].table.columns == columns


def test_addresses_of_the_sites_are_no_difference(sites: SitePair) -> None:
    (sites.dev / "hven.toml").write_text(
        'public_url = "https://dev.example.org"\n' + (sites.dev / "hven.toml").read_text()
    )
    (sites.gold / "hven.toml").write_text('public_url = "https://gold.example.org"\n')
    descriptor = DESCRIPTOR.replace(
        'description: "{version}"', 'description: "{version}", label: "{{site.url}}/{version}"'
    )
    publish_and_promote(sites, 1, descriptor)
    assert promote(sites).run is None


def test_more_rights_need_a_word(sites: SitePair) -> None:
    closed = DESCRIPTOR.replace("  main:\n", "  main:\n    access: private\n")
    publish_and_promote(sites, 1, closed)
    sites.publish_version(2)
    with pytest.raises(ConflictError, match=r"stars\.main \(private -> public\)"):
        promote(sites)
    report = promote(sites, widened_tables=frozenset({"stars.main"}))
    assert report.run is not None
    publish_and_promote(sites, 3, closed)  # narrower rights need none
    with sites.open_gold() as gold:
        assert gold.get_published_state().tables_by_name["stars.main"].table.access == "private"


def test_a_region_that_is_a_number_is_refused_with_its_line(sites: SitePair) -> None:
    path = sites.dev / "collections/stars/stars.yaml"
    descriptor = DESCRIPTOR.replace(
        "      version: {{type: int32, des", "      s_region: {{type: float64}}\n      version: {{type: int32, des"
    )
    sites.write_version(1, descriptor)
    data = path.with_name("main.csv")
    data.write_text(
        "\n".join(f"{line},{'s_region' if not n else 3.5}" for n, line in enumerate(data.read_text().splitlines()))
    )
    with sites.open_dev() as dev:
        ingest_collection(dev, "stars")
    with pytest.raises(DescriptorError) as caught:
        promote(sites)
    line = path.read_text().splitlines().index("      s_region: {type: float64}") + 1
    assert f"stars.yaml:{line}:7: stars.main.s_region" in str(caught.value)
    text = run_hven("promote", "stars", "--to", "gold", "--dry-run", "--site", sites.dev, expected_code=1).stdout
    assert "refused: " in text
    assert f"stars.yaml:{line}:7: stars.main.s_region" in text
    with sites.open_gold() as gold:
        assert not gold.store.read_published_records()[1]


def test_a_promotion_that_fails_leaves_nothing(sites: SitePair, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(sites)
    sites.publish_version(2)
    directories = sorted((sites.gold / "promoted/stars").iterdir())

    def fail(*_: object, **__: object) -> None:
        raise ConflictError("the disk is full")

    monkeypatch.setattr("hven.ingest.sync.change_sets.store_change_set", fail)
    with pytest.raises(ConflictError, match="is full"):
        promote(sites)
    monkeypatch.undo()
    with sites.open_gold() as gold:
        assert read_version(gold) == 1
        assert len(gold.store.list_snapshots("stars")) == 2
        assert {path.name for path in gold.settings.data_directory.glob("snapshots/stars.*/*")} == {
            record.id for record in gold.store.list_snapshots("stars")
        }
    promote(sites)
    assert len(sorted((sites.gold / "promoted/stars").iterdir())) == len(directories) + 1


def test_a_damaged_copy_is_not_published(sites: SitePair, monkeypatch: pytest.MonkeyPatch) -> None:

    def lose_a_row(origin: object, *arguments: object, **options: object) -> object:
        class Short:
            def read_batches(self) -> object:
                return (batch.slice(1) for batch in origin.read_batches())  # type: ignore[attr-defined]

            def __getattr__(self, name: str) -> object:
                return getattr(origin, name)

        return stage_rows(Short(), *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(collection_runs, "stage_rows", lose_a_row)
    with pytest.raises(Exception, match="blocks of the copy differ"):
        promote(sites)
    with sites.open_gold() as gold:
        assert not gold.store.read_published_records()[1]


def test_accounts_and_tables_of_users_of_the_target_stay(sites: SitePair) -> None:
    with sites.open_gold() as gold:
        gold.store.users.add_account("anna")
    promote(sites)
    with sites.open_gold() as gold:
        assert gold.store.users.has_account("anna")


def test_jobs_and_user_tables_of_the_target_stay(sites: SitePair) -> None:
    promote(sites)
    with sites.open_gold() as gold:
        client = Client(create_and_start_application(gold))
        headers = {"authorization": f"Bearer {gold.store.users.add_account('anna')}"}
        assert client.ask("PUT", "/tap/user_tables/mine", body=b"n\n7\n", headers=headers).status == 201
        body = b"LANG=ADQL&PHASE=RUN&QUERY=" + quote("SELECT version FROM stars.facts").encode()
        form = {**headers, "content-type": "application/x-www-form-urlencoded"}
        job = client.ask("POST", "/tap/async", body=body, headers=form).headers["location"].rpartition("/")[2]
        before = gold.store.jobs.get_job(job)
    publish_and_promote(sites, 2)
    with sites.open_gold() as gold:
        assert gold.store.jobs.get_job(job) == before, "a job that waits goes on to wait"
        assert run_next_job(gold)
        assert gold.store.jobs.get_job(job).phase == "COMPLETED"
        with query.run_query("SELECT n FROM tap_user.mine", Principal(name="anna"), site=gold) as result:
            assert result.read_table().to_pylist() == [{"n": 7}]
        return_to_earlier_publication(gold, "stars")
        assert gold.store.jobs.get_job(job).phase == "COMPLETED"
        assert [record for record, _ in gold.store.user_tables.list_tables_with_expiry()]


def test_the_target_checks_the_descriptor_with_its_own_packages(sites: SitePair) -> None:
    """A target that leaves a package out would not serve what needs it; the process uses the packages of both sites."""
    with (sites.gold / "hven.toml").open("a") as file:
        file.write('plugins = ["lint", "promotion", "schema_life"]\n')
    descriptor = DESCRIPTOR.replace("{{kind: csv, files: facts.csv}}", "{{kind: json, files: facts.json}}")
    (sites.dev / "collections/stars/facts.json").write_text('[{"version": 2}]')
    sites.publish_version(2, descriptor)
    done = run_hven("promote", "stars", "--to", "gold", "--site", sites.dev, expected_code=1)
    assert "belongs to the plug-in package json_xml" in done.stderr
    assert not list(sites.gold.glob("promoted/stars/*"))
    with (sites.dev / "hven.toml").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write('plugins = ["lint", "promotion", "schema_life", "json_xml"]\n' + text)
    (sites.gold / "hven.toml").write_text("keep_snapshots = 4\n")
    run_hven("promote", "stars", "--to", "gold", "--site", sites.dev)
    with sites.open_gold() as gold:
        assert read_version(gold) == 2


def test_the_status_does_not_call_a_promotion_a_rollback(sites: SitePair) -> None:
    promote(sites)
    text = run_hven("status", "--site", sites.gold).stdout
    assert "stays as published" in text
    assert "rolled back" not in text


def test_several_collections_are_promoted_and_returned_together(sites: SitePair) -> None:
    directory = sites.dev / "collections/planets"
    directory.mkdir()
    descriptor = "collection: planets\ntables:\n  main:\n    primary: id\n    columns: {id: {type: int32}}\n"
    (directory / "planets.yaml").write_text(f"{descriptor}    source: {{kind: csv, files: planets.csv}}\n")
    (directory / "planets.csv").write_text("id\n1\n")
    with sites.open_dev() as dev:
        ingest_collection(dev, "planets")
    text = run_hven("promote", "--all", "--to", "gold", "--site", sites.dev).stdout
    assert "promote planets stars --to gold --back" in text
    sites.publish_version(2)
    (directory / "planets.csv").write_text("id\n1\n2\n")
    with sites.open_dev() as dev, sites.open_gold() as gold:
        ingest_collection(dev, "planets")
        before = gold.store.get_version()
        reports = promotion.promote_collections(promotion.SiteSource(site=dev), gold, ["stars", "planets"])
        assert len({report.at for report in reports}) == 1
        assert gold.store.get_version() > before
        with pytest.raises(ConflictError, match="planets was promoted together with stars"):
            promotion.return_collections(gold, ["planets"])
        promotion.return_collections(gold, ["planets", "stars"])
        assert ask(gold, "SELECT COUNT(*) AS n FROM planets.main") == [{"n": 1}]
        assert read_version(gold) == 1
        with pytest.raises(NotFoundError, match="already returned to its first promotion"):
            promotion.return_collections(gold, ["planets", "stars"])
        assert {event.action for event in gold.store.list_publication_events("stars")} >= {"publish", "rollback"}


def test_a_first_promotion_can_be_taken_back(sites: SitePair) -> None:
    promote(sites)
    text = run_hven("promote", "stars", "--to", "gold", "--back", "--site", sites.dev).stdout
    assert "gold no longer publishes stars, as before its first promotion" in text
    with sites.open_gold() as gold:
        assert not [name for name in gold.get_published_state().tables_by_name if name.startswith("stars.")]
        assert not gold.published_records
    assert not (sites.gold / "collections/stars").exists()
    assert promote(sites).run is not None
    with sites.open_gold() as gold:
        assert read_version(gold) == 1


def test_a_first_promotion_in_a_group_is_taken_back_with_the_others(sites: SitePair) -> None:
    promote(sites)
    sites.publish_version(2)
    directory = sites.dev / "collections/planets"
    directory.mkdir()
    descriptor = "collection: planets\ntables:\n  main:\n    primary: id\n    columns: {id: {type: int32}}\n"
    (directory / "planets.yaml").write_text(f"{descriptor}    source: {{kind: csv, files: planets.csv}}\n")
    (directory / "planets.csv").write_text("id\n1\n")
    own_directory = sites.gold / "collections/planets"
    own_directory.mkdir()
    (own_directory / "planets.yaml").write_text("collection: planets\n")
    with sites.open_dev() as dev, sites.open_gold() as gold:
        ingest_collection(dev, "planets")
        options = PromotionOptions(may_overwrite=True)
        promotion.promote_collections(promotion.SiteSource(site=dev), gold, ["stars", "planets"], options)
        reports = promotion.return_collections(gold, ["planets", "stars"])
        assert (reports["planets"].tables, reports["planets"].state) == ({}, {})
        assert read_version(gold) == 1
        assert set(gold.published_records) == {"stars.main", "stars.facts"}
    assert (own_directory / "planets.yaml").read_text() == "collection: planets\n"


def test_back_returns_to_what_was_published_last_even_after_a_return(sites: SitePair) -> None:
    promote(sites)
    publish_and_promote(sites, 2)
    with sites.open_gold() as gold:
        return_to_earlier_publication(gold, "stars")
    publish_and_promote(sites, 3)
    with sites.open_gold() as gold:
        return_to_earlier_publication(gold, "stars")
        assert read_version(gold) == 1, "version 2 was not published when version 3 was promoted"


def test_back_does_not_jump_over_a_state_that_is_not_kept(sites: SitePair, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(sites)
    publish_and_promote(sites, 2)
    publish_and_promote(sites, 3)
    with sites.open_gold() as gold:
        (_, second_event, first_event) = [
            event for event in gold.store.list_publication_events("stars") if event.action == "publish"
        ]
        records = gold.store.list_snapshots("stars")
        lost_ids = set(second_event.state.values()) - set(first_event.state.values())
        kept_records = [record for record in records if record.id not in lost_ids]
        monkeypatch.setattr(gold.store, "list_snapshots", lambda _: kept_records)
        with pytest.raises(NotFoundError, match="before the last promotion, is not kept") as caught:
            return_to_earlier_publication(gold, "stars")
        assert f"hven rollback stars {first_event.run}" in str(caught.value)
        assert read_version(gold) == 3


def test_if_one_collection_is_refused_none_is_promoted(sites: SitePair) -> None:
    promote(sites)
    sites.publish_version(2)
    with sites.open_dev() as dev, sites.open_gold() as gold:
        source = promotion.SiteSource(site=dev)
        with pytest.raises(NotFoundError, match="no stored table of 'nothing'"):
            promotion.promote_collections(source, gold, ["nothing", "stars"])
        assert read_version(gold) == 1


def test_options_that_contradict_each_other_are_refused(sites: SitePair) -> None:
    for options in (
        ["stars"],
        ["stars", "--to", "gold", "--from", "gold"],
        ["--to", "gold"],
        ["stars", "--all", "--to", "gold"],
        ["stars", "--to", "gold", "--back", "--merge"],
        ["stars", "--to", "gold", "--merge", "--overwrite"],
    ):
        assert run_hven("promote", *options, "--site", sites.dev, expected_code=2).stderr


def test_collections_without_rows_are_refused(sites: SitePair) -> None:
    with sites.open_dev() as dev, sites.open_gold() as gold, pytest.raises(NotFoundError, match="no stored table"):
        promote_collection(dev, gold, "nothing")


def test_links_within_the_collection_stay_in_it(sites: SitePair) -> None:
    directory = sites.dev / "collections/stars"
    (directory / "near.txt").symlink_to("note.txt")
    (directory / "outside.txt").symlink_to(sites.dev / "hven.toml")
    with sites.open_dev() as dev, sites.open_gold() as gold:
        promote_collection(dev, gold, "stars")
        promoted_directory = gold.get_published_state().resources["stars"].path.parent
        assert (promoted_directory / "near.txt").readlink() == Path("note.txt")
        assert (promoted_directory / "outside.txt").readlink() == (sites.dev / "hven.toml").resolve()
        assert promote_collection(dev, gold, "stars").run is None


def test_collections_without_rows_are_named(sites: SitePair) -> None:
    directory = sites.dev / "collections/view"
    directory.mkdir()
    (directory / "view.yaml").write_text(
        "collection: view\ntitle: View\ntables:\n  main: {source: {kind: live, url: $ELSEWHERE, table: t}}\n"
    )
    (sites.dev / "secrets.toml").write_text("ELSEWHERE = 'postgresql://127.0.0.1:1/nothing'\n")
    (sites.dev / "secrets.toml").chmod(0o600)
    done = run_hven("promote", "--all", "--to", "gold", "--dry-run", "--site", sites.dev)
    assert "left out, because they store no rows: view" in done.stderr
    assert "rows of stars.main" in done.stdout


def test_the_verb_shows_and_does_it(sites: SitePair) -> None:
    text = run_hven("promote", "stars", "--to", "gold", "--dry-run", "--site", sites.dev).stdout
    assert "rows of stars.main: all 401 (the target has no such table)" in text
    assert "published" not in text
    text = run_hven("promote", "stars", "--to", "gold", "--site", sites.dev).stdout
    assert "equal: stars.main: 401 rows in the source and 401 in the target, 4 columns" in text
    facts = json.loads(run_hven("promote", "stars", "--to", "gold", "--json", "--site", sites.dev).stdout)
    assert facts["differs"] is False
    sites.publish_version(2)
    run_hven("promote", "stars", "--to", "gold", "--site", sites.dev)
    text = run_hven("promote", "stars", "--to", "gold", "--back", "--site", sites.dev).stdout
    assert "stars.main: 401 rows" in text
    assert "digest as promoted then" in text
    done = run_hven("promote", "stars", "--to", "glod", "--site", sites.dev, expected_code=1)
    assert "gold" in done.stderr.replace("glod", "")
