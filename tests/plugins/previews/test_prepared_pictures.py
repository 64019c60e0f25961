"""Pictures of what is new are made before anybody asks, by jobs that stop, go on and tell what failed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from asgi_client import Client
from astropy.io import fits
from prepared_site import fetch_body, make_prepared_site

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import OperationCancelledError
from hven.services import file_preparation
from hven.services.face import ServiceContext
from hven.site.auth import OWNER_PRINCIPAL
from plugin_needs import require_plugins


def test_new_files_get_pictures_and_failures_are_named(tmp_path: Path) -> None:
    require_plugins("protocols", "cubes")
    require_plugins("media", "netcdf")
    with make_prepared_site(tmp_path, "prepare: [previews, spectra]") as site:
        client = Client(create_and_start_application(site))
        ingest_collection(site, "cubes")  # what waits already is asked for once
        assert site.store.jobs.resolve_dependencies_and_count_waiting() == 1

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
        again = file_preparation.prepare_files_and_remove_stale_products(
            ServiceContext.create_for_principal(site, OWNER_PRINCIPAL),
            OWNER_PRINCIPAL,
            "cubes",
            ["previews"],
            redo=True,
        )
        assert (again.files, again.pictures, [*again.failed]) == (7, 0, ["table.fits"])


def test_a_job_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    require_plugins("media", "netcdf")
    with make_prepared_site(tmp_path) as site:
        around, shares = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), list[float]()
        with pytest.raises(OperationCancelledError):
            file_preparation.prepare_files_and_remove_stale_products(
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
        full = file_preparation.prepare_files_and_remove_stale_products(around, OWNER_PRINCIPAL, "cubes", ["previews"])
        assert (full.pictures, full.left) == (2, full.files - 1)
        object.__setattr__(limits, "pictures", limit)
        kept = len(list((site.settings.var_directory / "previews").rglob("*.png")))
        rest = file_preparation.prepare_files_and_remove_stale_products(around, OWNER_PRINCIPAL, "cubes", ["previews"])
        assert rest.files == full.left
        assert len(list((site.settings.var_directory / "previews").rglob("*.png"))) == kept + rest.pictures == 10
