"""Files are prepared in collections that exist and have files, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prepared_site import PAPER, make_prepared_site

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import DescriptorError, NotFoundError
from hven.services import file_preparation
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with make_prepared_site(tmp_path_factory.mktemp("prepared")) as made:
        yield made


@pytest.mark.parametrize("name", ["..", "../hips", ".", "", "nowhere", "cubes/..", "cubes/../../jobs"])
def test_what_is_no_collection_is_not_prepared(site: Site, name: str) -> None:
    kept = site.settings.var_directory / "hips" / ("0" * 64)
    kept.mkdir(parents=True, exist_ok=True)
    before = sorted(one for one in site.settings.var_directory.rglob("*") if "previews" not in one.parts)
    with pytest.raises(NotFoundError):
        file_preparation.prepare_files_and_remove_stale_products(
            ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), OWNER_PRINCIPAL, name
        )
    assert sorted(one for one in site.settings.var_directory.rglob("*") if "previews" not in one.parts) == before


def test_prepare_without_files_is_a_fault(tmp_path: Path) -> None:
    text = PAPER.replace('files: ["*.fits", "*.nc"]\n', "").replace('    links: [{{semantics: this, file: "{{target.file}}"}}]\n', "")  # fmt: skip
    (tmp_path / "collections/cubes").mkdir(parents=True)
    (tmp_path / "hven.toml").write_text('name = "cubes"\n')
    (tmp_path / "collections/cubes/rows.csv").write_text("id,file\n1,x\n")
    for line, words in (("prepare: [previews]", "has no files"), ("prepare: [dreams]", "dreams")):
        (tmp_path / "collections/cubes/cubes.yaml").write_text(text.format(prepare=line))
        with Site(settings.load_settings(tmp_path)) as site, pytest.raises(DescriptorError, match=words):
            ingest_collection(site, "cubes")
