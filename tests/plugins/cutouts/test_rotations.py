"""Rotated copies of cubes: values bit for bit, whatever reads them; no larger than the disk allows; gone with the state of their file."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
from asgi_client import Client
from astropy.io import fits
from prepared_site import fetch_body, header, make_prepared_site

from hven.app._server import create_and_start_application
from hven.formats.media import open_product
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import NotFoundError, OperationCancelledError, StorageError
from hven.plugins.cutouts import rotated_copies, rotations
from hven.services import file_preparation
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from plugin_needs import require_plugins, require_query_editor

HTML = "text/html,application/xhtml+xml"
CUBE = "/collections/cubes/cube"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with make_prepared_site(tmp_path_factory.mktemp("prepared")) as made:
        yield made


def fetch_cube_answers(client: Client) -> dict[str, bytes]:
    """Ask all that reads cubes: spectra, means, slices, cuts."""
    found = {}
    for name, part in (("parts.fits", "SCI"), ("whole.fits", "0"), ("packed.fits", "SCI"), ("maps.nc", "flux")):
        for more in ({"spectrum": "6 5"}, {"spectrum": "4 3"}, {"mean": "box 3 9 4 12"}, {"mean": "circle 20 15 6"}, {"slice": "4"}, {}):  # fmt: skip
            found[f"{name} {more}"] = fetch_body(client, f"{CUBE}/{name}", part=part, **more)
    found["whole U"] = fetch_body(client, f"{CUBE}/whole.fits", spectrum="4 3", at="4:3")
    for one in ("parts", "whole", "packed"):
        for pixels in ("6 6", "1 40"):
            found[f"cut {one} {pixels}"] = fetch_body(client, "/soda/sync", TABLE="cubes.main", ID=one, PIXELS_1=pixels, PIXELS_2="5 7")  # fmt: skip
    return found


def test_values_of_a_rotated_copy_equal_the_file_bit_for_bit(site: Site) -> None:
    """With copies and without; and the copies are what is read: one with another value gives it."""
    require_plugins("media", "netcdf")
    client, around = (
        Client(create_and_start_application(site)),
        ServiceContext.create_for_principal(site, OWNER_PRINCIPAL),
    )
    before = fetch_cube_answers(client)
    for path in ("parts.fits", "whole.fits", "packed.fits", "maps.nc"):
        with open_product(site.settings.collections_directory / "cubes" / path) as product:
            arrays, _ = rotations.choose_arrays_to_transpose(product)
            size = sum(rotated_copies.estimate_copy_bytes(one) for one in arrays)
        made = rotations.create_transposed_copies(around, OWNER_PRINCIPAL, "cubes", path)
        assert made.bytes == size
        assert rotations.create_transposed_copies(around, OWNER_PRINCIPAL, "cubes", path).bytes == 0
    copies = sorted((site.settings.var_directory / "cubes" / "cubes").glob("*/*.npy"))
    assert sorted(one.name for one in copies) == ["0-0.npy", "0-1.npy", "1-0.npy", "1-0.npy", "2-0.npy", "3-0.npy"]
    with fits.open(site.settings.collections_directory / "cubes" / "parts.fits") as file:
        first = next(one for one in copies if one.with_name("3-0.npy").exists() and one.name == "1-0.npy")
        assert np.load(first).tobytes() == np.ascontiguousarray(np.moveaxis(file[1].data, 0, -1)).tobytes()
        assert first.stat().st_size <= 1.001 * file[1].data.nbytes
    assert fetch_cube_answers(client) == before
    values = np.load(first, mmap_mode="r+")
    values[4, 5, 7] = 77.0
    values.flush()
    assert (
        orjson.loads(fetch_body(client, f"{CUBE}/parts.fits", part="SCI", spectrum="6 5"))["parts"][0]["values"][7]
        == 77.0
    )
    cut = fetch_body(client, "/soda/sync", TABLE="cubes.main", ID="parts", PART="SCI", PIXELS_1="6 6", PIXELS_2="5 5")
    assert fits.open(io.BytesIO(cut))[-1].data[7, 0, 0] == 77.0
    # a damaged one is not used
    first.write_bytes(first.read_bytes()[:-4])
    assert (
        fetch_body(client, f"{CUBE}/parts.fits", part="SCI", spectrum="6 5") == before["parts.fits {'spectrum': '6 5'}"]
    )


def test_blocks_are_bounded_and_what_is_stopped_or_has_no_room_leaves_nothing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = site.settings.collections_directory / "cubes"
    monkeypatch.setattr(rotated_copies, "BLOCK_BYTES", 5000)  # smaller than a row of the copy
    for name in ("parts.fits", "packed.fits"):
        with open_product(source / name) as product:
            array = product.find_part("SCI")
            shares: list[float] = []
            rotated_copies.write_transposed_copy(array, 0, tmp_path / "one.npy", ProgressMonitor(shares.append))
            assert shares == sorted(shares)
            assert len(shares) > 30
            whole = array.read_raw(tuple(slice(0, size) for size in array.shape))
            assert np.load(tmp_path / "one.npy").tobytes() == np.ascontiguousarray(np.moveaxis(whole, 0, -1)).tobytes()
            (tmp_path / "one.npy").unlink()
            half = ProgressMonitor(shares.append, lambda shares=shares: shares[-1] > 0.7)  # type: ignore[misc]
            with pytest.raises(OperationCancelledError):
                rotated_copies.write_transposed_copy(array, 0, tmp_path / "one.npy", half)
            assert not list(tmp_path.iterdir())
            shares.clear()

            def full(*_: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(os, "posix_fallocate", full)
                with pytest.raises(StorageError, match="no space left"):
                    rotated_copies.write_transposed_copy(array, 0, tmp_path / "one.npy")
            assert not list(tmp_path.iterdir())


def test_the_needed_disk_space_is_checked_first(tmp_path: Path) -> None:
    with make_prepared_site(tmp_path, more='disk_budget = "4 MB"') as site:
        (site.settings.var_directory / "more").write_bytes(bytes(3_500_000))
        with pytest.raises(StorageError, match=r"parts\.fits needs about 720 KB, but"):
            rotations.create_transposed_copies(
                ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), OWNER_PRINCIPAL, "cubes", "parts.fits"
            )
        assert not list((site.settings.var_directory / "cubes").rglob("*.npy"))


def test_a_copy_goes_with_the_state_of_its_file(tmp_path: Path) -> None:
    require_plugins("media", "netcdf")
    with make_prepared_site(tmp_path) as site:
        client, around = (
            Client(create_and_start_application(site)),
            ServiceContext.create_for_principal(site, OWNER_PRINCIPAL),
        )
        rotations.create_transposed_copies(around, OWNER_PRINCIPAL, "cubes", "parts.fits")
        rotations.create_transposed_copies(around, OWNER_PRINCIPAL, "cubes", "maps.nc")
        home = site.settings.var_directory / "cubes" / "cubes"
        (old,) = (one.parent for one in home.glob("*/of") if one.read_text() == "parts.fits")
        (old / ".999999-dead").touch()
        data = np.arange(60 * 30 * 40, dtype="f4").reshape(60, 30, 40)
        fits.PrimaryHDU(data, header()).writeto(tmp_path / "collections/cubes/parts.fits", overwrite=True)
        assert (
            client.get(f"{CUBE}/parts.fits", spectrum="6 5").status == 503
        )  # it was changed, and nothing stands for it
        (tmp_path / "collections/cubes/maps.nc").rename(tmp_path / "collections/cubes/other.nc")
        ingest_collection(site, "cubes")
        found = orjson.loads(fetch_body(client, f"{CUBE}/parts.fits", spectrum="6 5"))["parts"][0]["values"]
        assert found == data[:, 4, 5].tolist()
        assert run_next_job(site)  # of the site's owner, since there are copies
        assert not list(home.iterdir())


def test_operators_alone_ask_for_it(site: Site) -> None:
    client = Client(create_and_start_application(site))
    who = {name: {"authorization": f"Bearer {site.store.users.add_account(name)}"} for name in ("anna", "olga")}
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = b"COLLECTION=cubes&WHAT=spectra&FILES=parts.fits&PHASE=RUN"
    assert client.ask("POST", "/jobs/prepare", body=body, headers=form).status == 401
    bad = b"COLLECTION=cubes&WHAT=dreams&PHASE=RUN"
    assert client.ask("POST", "/jobs/prepare", body=bad, headers={**form, **who["olga"]}).status == 400
    for name, phase in (("anna", "ERROR"), ("olga", "COMPLETED")):
        made = client.ask("POST", "/jobs/prepare", body=body, headers={**form, **who[name]})
        assert run_next_job(site)
        path = made.headers["location"].partition("/jobs")[2]
        assert phase in client.ask("GET", f"/jobs{path}/phase", headers=who[name]).text


def test_the_page_of_a_cube_offers_it_to_operators(tmp_path: Path) -> None:
    require_query_editor()
    with make_prepared_site(tmp_path) as site:
        client = Client(create_and_start_application(site))
        token = {"authorization": f"Bearer {site.store.users.add_account('olga')}", "accept": HTML}
        shown = {name: client.ask("GET", f"{CUBE}/{name}.fits", headers=token).text for name in ("parts", "plain")}
        assert ['value="parts.fits"' in shown["parts"], "prepare" in shown["plain"]] == [True, False]
        assert "720" in shown["parts"]
        assert "prepare" not in client.ask("GET", f"{CUBE}/parts.fits", headers={"accept": HTML}).text
        body = b"TYPE=prepare&WHAT=spectra&COLLECTION=cubes&FILES=parts.fits"
        form = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
        begun_ = client.ask("POST", "/jobs", body=body, headers={**token, **form})
        assert begun_.status == 303, begun_.text
        assert run_next_job(site)
        assert "made" in client.ask("GET", f"/jobs?{begun_.headers['location'].partition('?')[2]}", headers=token).text
        assert "prepare" not in client.ask("GET", f"{CUBE}/parts.fits", headers=token).text


@pytest.mark.parametrize("name", ["..", "../hips", ".", "", "nowhere", "cubes/..", "cubes/../../jobs"])
def test_no_copies_are_removed_of_what_is_no_collection(site: Site, name: str) -> None:
    kept = site.settings.var_directory / "hips" / ("0" * 64)
    kept.mkdir(parents=True, exist_ok=True)
    before = sorted(one for one in site.settings.var_directory.rglob("*") if "previews" not in one.parts)
    with pytest.raises(NotFoundError):
        file_preparation.prepare_files_and_remove_stale_products(
            ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), OWNER_PRINCIPAL, name
        )
    rotations.remove_stale_copies(ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), "../spool")
    assert sorted(one for one in site.settings.var_directory.rglob("*") if "previews" not in one.parts) == before
