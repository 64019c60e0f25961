"""What is made of files before anybody asks: pictures of what is new; by jobs that stop, go on and tell what failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
from asgi_client import Client
from astropy.io import fits
from prepared_site import PAPER, fetch_body, make_prepared_site

from hven.app._server import create_application
from hven.ingest import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model import settings
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import DescriptorError, NotFoundError, OperationCancelledError
from hven.services import file_preparation
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from plugin_needs import require_plugins


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with make_prepared_site(tmp_path_factory.mktemp("prepared")) as made:
        yield made


def test_pictures_are_made_of_what_is_new_and_what_failed_is_named(tmp_path: Path) -> None:
    require_plugins("protocols", "cubes")
    with make_prepared_site(tmp_path, "prepare: [previews, spectra]") as site:
        client = Client(create_application(site))
        ingest_collection(site, "cubes")  # what waits already is asked for once
        assert site.store.jobs.count_waiting() == 1

        def ran() -> dict[str, object]:
            assert run_next_job(site)
            assert not run_next_job(site)
            (job,) = site.store.jobs.list_jobs("user owner", "prepare", row_limit=1)
            found = site.store.jobs.get_job(job.id)
            assert found.phase == "COMPLETED", found.error
            place = site.settings.data_directory / "jobs" / job.id / found.results[0]["file"]
            return dict(orjson.loads(place.read_bytes()))

        told = ran()
        assert (told["files"], told["pictures"], told["copies"], [*told["failed"]]) == (6, 10, 4, ["table.fits"])
        assert told["bytes"] == sum(
            one.stat().st_size for one in (site.settings.var_directory / "previews").rglob("*.png")
        ) + sum(np.load(one).nbytes for one in (site.settings.var_directory / "cubes").rglob("*.npy"))
        before = {one: one.stat().st_ino for one in (site.settings.var_directory / "previews").rglob("*.png")}
        for query in ({"size": "200"}, {}):  # as rows lead to them
            assert fetch_body(client, "/collections/cubes/preview/plain.fits", **query)[:4] == b"\x89PNG"
        assert {one: one.stat().st_ino for one in (site.settings.var_directory / "previews").rglob("*.png")} == before
        fits.PrimaryHDU(np.ones((9, 9), "f4")).writeto(tmp_path / "collections/cubes/new.fits")
        ingest_collection(site, "cubes")
        told = ran()
        assert (told["files"], told["pictures"], told["failed"]) == (1, 2, {})
        ingest_collection(site, "cubes")
        assert ran()["files"] == 0
        again = file_preparation.prepare_files(
            ServiceContext.create_for_principal(site, OWNER_PRINCIPAL),
            OWNER_PRINCIPAL,
            "cubes",
            ["previews"],
            redo=True,
        )
        assert (again.files, again.pictures, [*again.failed]) == (7, 0, ["table.fits"])


def test_a_job_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    with make_prepared_site(tmp_path) as site:
        around, shares = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), list[float]()
        with pytest.raises(OperationCancelledError):
            file_preparation.prepare_files(
                around,
                OWNER_PRINCIPAL,
                "cubes",
                ["previews"],
                progress=ProgressMonitor(shares.append, lambda: len(shares) > 2),
            )
        kept = len(list((site.settings.var_directory / "previews").rglob("*.png")))
        assert kept > 0
        limits = site.settings.brought["files:previews"]
        limit = limits.pictures
        object.__setattr__(limits, "pictures", 1)  # there is room for the first one alone
        full = file_preparation.prepare_files(around, OWNER_PRINCIPAL, "cubes", ["previews"])
        assert (full.pictures, full.left) == (2, full.files - 1)
        object.__setattr__(limits, "pictures", limit)
        kept = len(list((site.settings.var_directory / "previews").rglob("*.png")))
        rest = file_preparation.prepare_files(around, OWNER_PRINCIPAL, "cubes", ["previews"])
        assert rest.files == full.left
        assert len(list((site.settings.var_directory / "previews").rglob("*.png"))) == kept + rest.pictures == 10


@pytest.mark.parametrize("name", ["..", "../hips", ".", "", "nowhere", "cubes/..", "cubes/../../jobs"])
def test_what_is_no_collection_is_not_prepared(site: Site, name: str) -> None:
    kept = site.settings.var_directory / "hips" / ("0" * 64)
    kept.mkdir(parents=True, exist_ok=True)
    before = sorted(one for one in site.settings.var_directory.rglob("*") if "previews" not in one.parts)
    with pytest.raises(NotFoundError):
        file_preparation.prepare_files(
            ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), OWNER_PRINCIPAL, name, ["previews"]
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
