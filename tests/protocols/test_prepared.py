"""What is made of files before anybody asks: rotated copies of cubes, values bit for bit; pictures of what is new; by jobs that stop, go on and tell what failed."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import h5netcdf
import numpy as np
import orjson
import pytest
from asgi_client import Client
from astropy.io import fits

from hven.app._server import create_application
from hven.formats.media import open_product, rotated_copies
from hven.ingest import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model import settings
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import DescriptorError, NotFoundError, OperationCancelledError, StorageError
from hven.services import file_preparation, rotations
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL

PAPER = """\
collection: cubes
title: Cubes
licence: CC-BY-4.0
files: ["*.fits", "*.nc"]
{prepare}
tables:
  main:
    source: rows.csv
    primary: id
    columns: {{id: string, file: string}}
    links: [{{semantics: this, file: "{{target.file}}"}}]
"""
NAMES = ("parts", "whole", "packed", "plain", "table")
HTML = "text/html,application/xhtml+xml"
CUBE = "/collections/cubes/cube"


def header(**more: object) -> fits.Header:
    cards = {"CTYPE1": "RA---TAN", "CRVAL1": 10.0, "CRPIX1": 20, "CDELT1": -1e-2, "CTYPE2": "DEC--TAN", "CRVAL2": 20.0, "CRPIX2": 15, "CDELT2": 1e-2,
             "CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 1e11, "CRPIX3": 1, "CDELT3": 1e6}  # fmt: skip
    return fits.Header({**cards, **more})


def write_cubes(folder: Path) -> None:
    """Write a cube with its errors and flags, one of integers with scale, blanks and polarizations, one in compressed tiles, and netCDF."""
    random = np.random.default_rng(3)
    data = random.normal(5, 1, (60, 30, 40)).astype(">f4")
    data[3, 4, 5] = np.nan
    parts = [fits.PrimaryHDU(), fits.ImageHDU(data, header(), name="SCI"), fits.ImageHDU(data / 9, header(), name="ERR"), fits.ImageHDU((data > 6).astype("i2"), header(), name="DQ")]  # fmt: skip
    fits.HDUList(parts).writeto(folder / "parts.fits", overwrite=True)
    numbers = random.integers(-30_000, 30_000, (4, 60, 30, 40)).astype(">i2")
    hdu = fits.PrimaryHDU(numbers, header(CTYPE4="STOKES", CRVAL4=1, CRPIX4=1, CDELT4=1))
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 3.0, int(numbers[0, 1, 2, 3])
    hdu.writeto(folder / "whole.fits", output_verify="silentfix", overwrite=True)
    tiles = fits.CompImageHDU(data, header(), tile_shape=(1, 30, 40), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), tiles]).writeto(folder / "packed.fits", overwrite=True)
    fits.PrimaryHDU(data[0], header()).writeto(folder / "plain.fits", overwrite=True)
    table = fits.BinTableHDU.from_columns([fits.Column("note", "8A", array=["words"])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(folder / "table.fits", overwrite=True)
    with h5netcdf.File(folder / "maps.nc", "w") as file:
        file.dimensions = {"time": 60, "y": 30, "x": 40}
        made = file.create_variable("flux", ("time", "y", "x"), "f8", chunks=(10, 30, 40), compression="gzip")
        made[...] = data


def begun(directory: Path, prepare: str = "", *, more: str = "") -> Site:
    folder = directory / "collections" / "cubes"
    folder.mkdir(parents=True)
    write_cubes(folder)
    (folder / "rows.csv").write_text("id,file\n" + "".join(f"{one},{one}.fits\n" for one in NAMES))
    (folder / "cubes.yaml").write_text(PAPER.format(prepare=prepare))
    (directory / "hven.toml").write_text(f'name = "cubes"\n{more}\n[health]\noperators = ["olga"]\n')
    site = Site(settings.load_settings(directory))
    ingest_collection(site, "cubes")
    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with begun(tmp_path_factory.mktemp("prepared")) as made:
        yield made


def fetch_body(client: Client, path: str, **params: str) -> bytes:
    found = client.get(path, **params)
    assert found.status == 200, found.text
    return found.body


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


def test_values_are_those_of_the_file_bit_for_bit(site: Site) -> None:
    """With copies and without; and the copies are what is read: one with another value gives it."""
    client, around = Client(create_application(site)), ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
    before = fetch_cube_answers(client)
    for path in ("parts.fits", "whole.fits", "packed.fits", "maps.nc"):
        with open_product(site.settings.collections_directory / "cubes" / path) as product:
            arrays, _ = rotations.choose_arrays_to_rotate(product)
            size = sum(rotated_copies.estimate_copy_bytes(one) for one in arrays)
        made = rotations.create_rotated_copies(around, OWNER_PRINCIPAL, "cubes", path)
        assert made.bytes == size
        assert rotations.create_rotated_copies(around, OWNER_PRINCIPAL, "cubes", path).bytes == 0
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
            rotated_copies.write_rotated_copy(array, 0, tmp_path / "one.npy", ProgressMonitor(shares.append))
            assert shares == sorted(shares)
            assert len(shares) > 30
            whole = array.read_raw(tuple(slice(0, size) for size in array.shape))
            assert np.load(tmp_path / "one.npy").tobytes() == np.ascontiguousarray(np.moveaxis(whole, 0, -1)).tobytes()
            (tmp_path / "one.npy").unlink()
            half = ProgressMonitor(shares.append, lambda shares=shares: shares[-1] > 0.7)  # type: ignore[misc]
            with pytest.raises(OperationCancelledError):
                rotated_copies.write_rotated_copy(array, 0, tmp_path / "one.npy", half)
            assert not list(tmp_path.iterdir())
            shares.clear()

            def full(*_: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(os, "posix_fallocate", full)
                with pytest.raises(StorageError, match="no space left"):
                    rotated_copies.write_rotated_copy(array, 0, tmp_path / "one.npy")
            assert not list(tmp_path.iterdir())


def test_the_budget_of_the_disk_is_told_before(tmp_path: Path) -> None:
    with begun(tmp_path, more='disk_budget = "4 MB"') as site:
        (site.settings.var_directory / "more").write_bytes(bytes(3_500_000))
        with pytest.raises(StorageError, match=r"parts\.fits needs about 720 KB, and"):
            rotations.create_rotated_copies(
                ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), OWNER_PRINCIPAL, "cubes", "parts.fits"
            )
        assert not list((site.settings.var_directory / "cubes").rglob("*.npy"))


def test_a_copy_goes_with_the_state_of_its_file(tmp_path: Path) -> None:
    with begun(tmp_path) as site:
        client, around = Client(create_application(site)), ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
        rotations.create_rotated_copies(around, OWNER_PRINCIPAL, "cubes", "parts.fits")
        rotations.create_rotated_copies(around, OWNER_PRINCIPAL, "cubes", "maps.nc")
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


def test_pictures_are_made_of_what_is_new_and_what_failed_is_named(tmp_path: Path) -> None:
    with begun(tmp_path, "prepare: [previews, spectra]") as site:
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
    with begun(tmp_path) as site:
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


def test_operators_alone_ask_for_it(site: Site) -> None:
    client = Client(create_application(site))
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
    with begun(tmp_path) as site:
        client = Client(create_application(site))
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
def test_what_is_no_collection_is_not_prepared(site: Site, name: str) -> None:
    kept = site.settings.var_directory / "hips" / ("0" * 64)
    kept.mkdir(parents=True, exist_ok=True)
    before = sorted(one for one in site.settings.var_directory.rglob("*") if "previews" not in one.parts)
    with pytest.raises(NotFoundError):
        file_preparation.prepare_files(
            ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), OWNER_PRINCIPAL, name
        )
    rotations.remove_stale_copies(ServiceContext.create_for_principal(site, OWNER_PRINCIPAL), "../spool")
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
