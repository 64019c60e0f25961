"""Another Hven publishes a package with the same rows, files and rights; the hash of all rows is the judge."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from package_sites import FRAMES, create_empty_site, create_site, pack, read_members, unpack_tar
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import ConflictError, SourceError, UsageError
from hven.model.settings import load_settings
from hven.plugins.packages.package_import import compute_snapshot_hash, import_package
from hven.plugins.packages.package_reader import PackageReader
from hven.plugins.promotion import promotion
from hven.plugins.promotion.promotion import PromotionOptions
from hven.services import collection_files
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL

OPTIONS = PromotionOptions()


def run(*arguments: str) -> str:
    result = CliRunner().invoke(build_typer_app(), list(arguments))
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


@pytest.mark.parametrize("form", ["bagit", "ro-crate"])
def test_the_hash_is_the_same_elsewhere(tmp_path: Path, form: str) -> None:
    site = create_site(tmp_path / "site")
    written = pack(site, tmp_path / "night.tar", form=form)
    other = create_empty_site(tmp_path / "other")
    with Site(load_settings(other)) as target:
        report = import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)
        assert report.snapshot_hash == written.snapshot_hash
        assert report.row_counts == written.row_counts
        context = ServiceContext.create_for_principal(target, OWNER_PRINCIPAL)
        listed = collection_files.list_files(context, OWNER_PRINCIPAL, "night")
        assert len(listed) == len(FRAMES)
        found = collection_files.find_files(context, OWNER_PRINCIPAL, "night", [row["path"] for row in listed])
        for path, row in found.rows.items():
            pieces = collection_files.create_file_reader(context, row)(0, row["bytes"])
            assert b"".join(filter(None, pieces)) == FRAMES[path.removeprefix("frames/")]
        public = ServiceContext.create_for_principal(target, ANONYMOUS_PRINCIPAL)
        refused = collection_files.find_files(public, ANONYMOUS_PRINCIPAL, "night", [*found.rows]).refused
        assert len(refused) == len(FRAMES), "locked files are locked there, too"
        again = import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)
        assert again.run is None, "what is published already is not published again"
    again_written = pack(other, tmp_path / "again.tar", form=form)
    assert again_written.snapshot_hash == written.snapshot_hash
    assert again_written.lacking == []


def test_the_unpacked_folder_is_a_package(tmp_path: Path) -> None:
    pack(create_site(tmp_path / "site"), tmp_path / "night.tar")
    folder = unpack_tar(tmp_path / "night.tar", tmp_path / "unpacked")
    with Site(load_settings(create_empty_site(tmp_path / "other"))) as target:
        reader = PackageReader(folder)
        assert reader.verify().is_valid
        assert import_package(target, reader, OPTIONS).run


def test_the_collection_can_be_ingested_there(tmp_path: Path) -> None:
    pack(create_site(tmp_path / "site"), tmp_path / "night.tar")
    other = create_empty_site(tmp_path / "other", 'public_url = "https://night.example.org"\n')  # files have addresses
    with Site(load_settings(other)) as target:
        report = import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)
        ingest_collection(target, "night")
        assert compute_snapshot_hash(target, "night")[1] == report.snapshot_hash


def test_own_changes_are_not_replaced(tmp_path: Path) -> None:
    pack(create_site(tmp_path / "site"), tmp_path / "night.tar")
    other = create_site(tmp_path / "other", row_count=7)
    with Site(load_settings(other)) as target:
        before = compute_snapshot_hash(target, "night")
        with pytest.raises(ConflictError, match="target has changes"):
            import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)
        assert compute_snapshot_hash(target, "night") == before
        options = PromotionOptions(may_overwrite=True)
        assert import_package(target, PackageReader(tmp_path / "night.tar"), options).row_counts["night.main"] == 200


def test_a_package_of_a_reader_has_no_descriptor(tmp_path: Path) -> None:
    pack(create_site(tmp_path / "site"), tmp_path / "night.tar", principal=ANONYMOUS_PRINCIPAL)
    with (
        Site(load_settings(create_empty_site(tmp_path / "other"))) as target,
        pytest.raises(SourceError, match="no descriptor"),
    ):
        import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)


def create_outside_site(tmp_path: Path) -> tuple[Path, Path]:
    """Create a site whose products are outside of the collection; return its directory and that of the products."""
    archive = tmp_path / "archive"
    (archive / "frames").mkdir(parents=True)
    site = create_site(tmp_path / "site", ingest=False)
    shutil.rmtree(site / "collections/night/frames")
    for name, body in FRAMES.items():
        (archive / "frames" / name).write_bytes(body)
    (site / "hven.toml").write_text((site / "hven.toml").read_text() + f'roots = ["{archive}"]\n')
    path = site / "collections/night/night.yaml"
    path.write_text(path.read_text().replace('files: "frames/*"', f'files: {{root: "{archive}", files: "frames/*"}}'))
    with Site(load_settings(site)) as source:
        ingest_collection(source, "night")
    return site, archive


def add_standard(site: Path) -> None:
    """Let the table ``facts`` have a standard of the site."""
    (site / "standards").mkdir()
    (site / "standards/words.yaml").write_text(
        "collection: words\ntables:\n  facts:\n    columns: {word: string, number: float64}\n"
    )
    path = site / "collections/night/night.yaml"
    path.write_text(path.read_text().replace("  facts:\n", "  facts:\n    standard: words\n"))


@pytest.mark.parametrize("place", ["files/frames/a.fits", "collection/night.yaml"])
def test_a_package_that_changes_after_its_check_is_refused(tmp_path: Path, place: str) -> None:
    pack(create_site(tmp_path / "site"), tmp_path / "night.tar")
    folder = unpack_tar(tmp_path / "night.tar", tmp_path / "unpacked")
    with Site(load_settings(create_empty_site(tmp_path / "other"))) as target:
        reader = PackageReader(folder)
        assert reader.verify().is_valid
        path = folder / "data" / place
        path.write_bytes(path.read_bytes().replace(b"a", b"b"))
        with pytest.raises(SourceError, match="differs from its checksum"):
            import_package(target, reader, OPTIONS)
        assert not target.published_records


@pytest.mark.parametrize("change", [{"hven": "99.0"}, {"format": 2}])
def test_packages_of_other_versions_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    pack(create_site(tmp_path / "site"), tmp_path / "night.tar")
    folder = unpack_tar(tmp_path / "night.tar", tmp_path / "unpacked")
    path = folder / "data/snapshot.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with (
        Site(load_settings(create_empty_site(tmp_path / "other"))) as target,
        pytest.raises(SourceError, match="was written by Hven"),
    ):
        import_package(target, PackageReader(folder), OPTIONS)


def test_a_standard_of_the_site_moves_with_the_collection(tmp_path: Path) -> None:
    """The other site gets it, unless it has another one of this name, or Hven has."""
    site = create_site(tmp_path / "site", ingest=False)
    add_standard(site)
    (site / "standards/other.yaml").write_text("collection: other\ntables:\n  main:\n    columns: {a: string}\n")
    with Site(load_settings(site)) as source:
        ingest_collection(source, "night")
    written = pack(site, tmp_path / "night.tar")
    pack(site, tmp_path / "public.tar", principal=ANONYMOUS_PRINCIPAL)
    members = read_members(tmp_path / "night.tar")
    assert [path for path in members if "/standards/" in path] == ["data/standards/words.yaml"]
    assert not any("standards/" in path for path in read_members(tmp_path / "public.tar"))
    for number, text in enumerate(("", "collection: words\ntables:\n  facts:\n    columns: {word: string}\n")):
        other = create_empty_site(tmp_path / f"other{number}")
        if text:
            (other / "standards").mkdir()
            (other / "standards/words.yaml").write_text(text)
        with Site(load_settings(other)) as target:
            if text:
                with pytest.raises(ConflictError, match=r"differs from the standard words\.yaml"):
                    import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)
            else:
                report = import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)
                assert report.snapshot_hash == written.snapshot_hash
                assert any("words.yaml" in note for note in report.notes)
                ingest_collection(target, "night")
                assert compute_snapshot_hash(target, "night")[0] == written.row_counts


def test_a_package_replaces_no_standard_of_hven(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site", ingest=False)
    add_standard(site)
    (site / "standards/words.yaml").rename(site / "standards/epn-tap-2.0.yaml")
    path = site / "collections/night/night.yaml"
    path.write_text(path.read_text().replace("standard: words", "standard: epn-tap-2.0"))
    with Site(load_settings(site)) as source:
        ingest_collection(source, "night")
    pack(site, tmp_path / "night.tar")
    with (
        Site(load_settings(create_empty_site(tmp_path / "other"))) as target,
        pytest.raises(ConflictError, match="would replace Hven's own"),
    ):
        import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)
    assert not (tmp_path / "other/standards").exists()


def list_contents(directory: Path) -> dict[str, bytes]:
    """Return all files below a directory with their contents."""
    return {str(item.relative_to(directory)): item.read_bytes() for item in directory.rglob("*") if item.is_file()}


def test_products_outside_of_the_collection(tmp_path: Path) -> None:
    """They are unpacked beside the collections of the other site, and never where an absolute path leads."""
    site, archive = create_outside_site(tmp_path)
    written = pack(site, tmp_path / "night.tar")
    assert written.lacking == []
    before = {item: item.stat().st_mtime_ns for item in archive.rglob("*")}
    other = create_empty_site(tmp_path / "other", f'roots = ["{archive}"]\n')
    with Site(load_settings(other)) as target:
        report = import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)
    assert report.snapshot_hash == written.snapshot_hash
    (folder,) = (other / "package-files/night").iterdir()
    assert list_contents(folder) == {f"frames/{name}": body for name, body in FRAMES.items()}
    assert any(str(folder) in note for note in report.notes)
    with Site(load_settings(other)) as target:
        again = import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)
    assert (again.run, again.notes) == (None, [])
    assert list((other / "package-files/night").iterdir()) == [folder], "the same package is not unpacked twice"
    assert {item: item.stat().st_mtime_ns for item in archive.rglob("*")} == before


def test_a_refused_package_leaves_published_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a refusal nor a stop changes a product or a standard that the site has, nor leaves new ones."""
    site, archive = create_outside_site(tmp_path)
    pack(site, tmp_path / "night.tar")
    (archive / "frames/a.fits").write_bytes(b"new" * 1000)
    add_standard(site)
    with Site(load_settings(site)) as source:
        ingest_collection(source, "night")
    pack(site, tmp_path / "newer.tar")
    newer = unpack_tar(tmp_path / "newer.tar", tmp_path / "newer")
    other = create_empty_site(tmp_path / "other", f'roots = ["{archive}"]\n')
    with Site(load_settings(other)) as target:
        import_package(target, PackageReader(tmp_path / "night.tar"), OPTIONS)
        before = list_contents(other / "package-files")

        def refuse(*arguments: object) -> list[ConflictError]:
            written.append(list_contents(other / "package-files") != before)
            return [ConflictError("refused", remedy="none")]

        def stop(*arguments: object) -> list[ConflictError]:
            raise KeyboardInterrupt

        written: list[bool] = []
        for replacement, expected in ((refuse, ConflictError), (stop, KeyboardInterrupt)):
            monkeypatch.setattr(promotion, "list_refusals", replacement)
            with pytest.raises(expected):
                import_package(target, PackageReader(newer), OPTIONS)
            assert list_contents(other / "package-files") == before
            assert list_contents(other / "standards") == {}
        assert written == [True], "the new products were unpacked beside the others"
        monkeypatch.undo()
        import_package(target, PackageReader(newer), OPTIONS)
    assert list_contents(other / "standards").keys() == {"words.yaml"}
    after = list_contents(other / "package-files")
    assert {name: after[name] for name in before} == before
    assert sorted(after[name] for name in after.keys() - before.keys()) == sorted(
        [b"new" * 1000, *(body for name, body in FRAMES.items() if name != "a.fits")]
    )


def test_products_that_no_package_can_contain_are_left_out(tmp_path: Path) -> None:
    """The writer has the limits of the reader, so that a package is not refused because of one product."""
    site = create_site(tmp_path / "site", ingest=False)
    frames = site / "collections/night/frames"
    names = {".hidden.fits": "is hidden", "e\u0301.fits": "same name", "\u00e9.fits": "same name"}
    for name in names:
        (frames / name).write_bytes(b"x")
    with Site(load_settings(site)) as source:
        ingest_collection(source, "night")
    written = pack(site, tmp_path / "night.tar")
    reasons = {item.path.removeprefix("files/frames/"): (item.status, item.reason) for item in written.lacking}
    assert len(reasons) == 2, "one of the two equal names is there"
    for name, (status, reason) in reasons.items():
        assert status == "left out"
        assert names[name] in reason
    with Site(load_settings(create_empty_site(tmp_path / "other"))) as target:
        reader = PackageReader(tmp_path / "night.tar")
        assert reader.verify().is_valid
        assert import_package(target, reader, OPTIONS).run


def test_the_verbs(tmp_path: Path) -> None:
    site = str(create_site(tmp_path / "site"))
    other = str(create_empty_site(tmp_path / "other"))
    package = str(tmp_path / "night.tar")
    facts = json.loads(run("--site", site, "package", "night", "--output", package, "--json"))
    assert run("--site", site, "package", "night", "--hash").strip() == facts["snapshot_hash"]
    assert "is valid (bagit" in run("unpack", package, "--check")
    unpacked = json.loads(run("--site", other, "unpack", package, "--json"))
    assert unpacked["snapshot_hash"] == facts["snapshot_hash"]
    result = CliRunner().invoke(build_typer_app(), ["--site", site, "package", "night", "--as", "zip"])
    assert isinstance(result.exception, UsageError)
    Path(package).write_bytes(Path(package).read_bytes()[:40_000])
    result = CliRunner().invoke(build_typer_app(), ["unpack", package, "--check"])
    assert result.exit_code == 1
    assert "it lacks data/ro-crate-metadata.json" in result.output
