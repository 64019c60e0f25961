"""HiPS made here of a collection's images: their tiles against WCS, who sees them, what is left out, and that nothing half made is published."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
from asgi_client import Client
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model import settings
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import OperationCancelledError, ParamError, SourceError, TooLargeError, UserError
from hven.model.sky import healpix, region_files
from hven.plugins.hips import surveys
from hven.plugins.previews.pictures import PictureStyle
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from plugin_needs import require_page_part, require_plugins
from requirements import is_available
from shared import shared

SITE = 'public_url = "https://vo.example"\ncontact_email = "vo@vo.example"\n[health]\noperators = ["olga"]\n'
DESCRIPTOR = """\
collection: {name}
title: The plane
licence: CC-BY-4.0
access: {access}
files: ["images/*"]
tables:
  main: {{source: rows.csv, primary: id, columns: {{id: int32, ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}, dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}}}}}
"""
AT = "/collections/sky/hips/mixed"


def slope(shift: float = 0.0) -> fits.PrimaryHDU:
    """An image whose values tell where they are."""
    cards = {"CTYPE1": "RA---TAN", "CRVAL1": 45.0 + shift, "CRPIX1": 60.5, "CDELT1": -0.02, "CTYPE2": "DEC--TAN", "CRVAL2": 10.0, "CRPIX2": 50.5, "CDELT2": 0.02}  # fmt: skip
    header = fits.Header(cards)
    y, x = np.mgrid[0:100, 0:120]
    lon, lat = WCS(header).all_pix2world(x, y, 0)
    return fits.PrimaryHDU((100 * lon + lat).astype("f4"), header)


def stand_in(name: str) -> fits.PrimaryHDU:
    """Make an image that lies where a real one does, with as many pixels and as few frames said: without RADESYS, or with ICRS."""
    lon, lat, size, step, frame = {
        "gc_2mass_k": (266.4, -28.93333, 720, 0.001388889, {"EQUINOX": 2000.0}),
        "HorseHead": (85.27497, -2.458265, 891, 0.0002806, {"RADESYS": "ICRS"}),
    }[name]
    cards = {"CTYPE1": "RA---TAN", "CRVAL1": lon, "CRPIX1": size / 2, "CDELT1": -step, "CTYPE2": "DEC--TAN", "CRVAL2": lat, "CRPIX2": size / 2, "CDELT2": step}  # fmt: skip
    pixels = np.random.default_rng(7).integers(500, 20_000, (size, size)).astype("i2")
    return fits.PrimaryHDU(pixels, fits.Header({**cards, **frame}))


def bad(folder: Path) -> None:
    fits.PrimaryHDU(np.ones((20, 20), "f4")).writeto(folder / "nowhere.fits")
    mars = slope()
    mars.header["CTYPE1"], mars.header["CTYPE2"] = "MALN-CAR", "MALT-CAR"
    mars.writeto(folder / "mars.fits")
    blank = slope()
    blank.data[:] = np.nan
    blank.writeto(folder / "blank.fits")
    slope().writeto(folder / "cut.fits")
    whole = (folder / "cut.fits").read_bytes()
    (folder / "cut.fits").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.fits").touch()
    (folder / "words.fits").write_text("no image")
    cube = fits.PrimaryHDU(np.ones((3, 100, 120), "f4"), slope().header)
    cube.writeto(folder / "cube.fits")
    frequencies = 1000 * 0.05 * np.arange(20)[:, None, None]  # MHz above 100 GHz
    deep = fits.PrimaryHDU((slope().data + frequencies).astype("f4"), slope().header)
    deep.header.update(
        {"CTYPE3": "FREQ", "CUNIT3": "GHz", "CRVAL3": 100.0, "CRPIX3": 1, "CDELT3": 0.05, "RESTFRQ": 100e9}
    )
    deep.writeto(folder / "deep.fits")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("made")
    for name, access in (("sky", "public"), ("shut", "private")):
        folder = directory / "collections" / name / "images"
        folder.mkdir(parents=True)
        (folder.parent / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, access=access))
        (folder.parent / "rows.csv").write_text("id,ra,dec\n1,45,10\n")
        slope().writeto(folder / "slope.fits")
    folder = directory / "collections" / "sky" / "images"
    slope(1.0).writeto(folder / "slope2.fits")
    for one in ("gc_2mass_k", "HorseHead"):
        if is_available("shared"):
            shutil.copy(shared(f"data/images/{one}.fits"), folder)
        else:
            stand_in(one).writeto(folder / f"{one}.fits")
    bad(folder)
    (directory / "hven.toml").write_text(SITE)
    with Site(settings.load_settings(directory)) as made:
        for name in ("sky", "shut"):
            ingest_collection(made, name)
        yield made


@pytest.fixture(scope="module")
def service_context(site: Site) -> ServiceContext:
    return ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)


@pytest.fixture(scope="module")
def mixed_survey(service_context: ServiceContext) -> surveys.HipsSurvey:
    told: list[float] = []
    made = surveys.build_hips_survey(
        service_context, OWNER_PRINCIPAL, "sky", "mixed", order=4, progress=ProgressMonitor(told.append)
    )
    assert told == sorted(told)
    assert told[0] < 0.2
    assert 0.9 < told[-1] <= 1.0
    return made


@pytest.fixture(scope="module")
def client(site: Site, mixed_survey: surveys.HipsSurvey) -> Client:
    return Client(create_and_start_application(site))


def test_what_cannot_be_in_it_is_named_and_left_out(mixed_survey: surveys.HipsSurvey) -> None:
    assert mixed_survey.files == tuple(f"images/{one}.fits" for one in ("HorseHead", "gc_2mass_k", "slope", "slope2"))
    why = {path.removeprefix("images/").removesuffix(".fits"): text for path, text in mixed_survey.left_out.items()}
    assert why.keys() == {"nowhere", "mars", "blank", "cut", "empty", "words", "cube", "deep"}
    assert "no image whose header states a position on the sky" in why["nowhere"]
    assert "not the sky" in why["mars"]
    assert why["blank"] == "it contains no pixel values"
    assert "cube" in why["cube"]
    assert "empty" in why["empty"]
    assert str(mixed_survey.place) not in str(mixed_survey.left_out)


def test_pixels_of_tiles_are_where_wcs_says(client: Client) -> None:
    order, seen = 4, 0
    for tile in np.unique(healpix.compute_cell_indexes(order, np.linspace(44, 46, 21), np.full(21, 10.0))).tolist():
        answer = client.get(f"{AT}/Norder{order}/Dir{tile // 10_000 * 10_000}/Npix{tile}.fits")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/fits")
        with fits.open(io.BytesIO(answer.body)) as file:
            values = file[0].data
        # HPX as wcslib has it judges where each pixel is; its centre is that of a cell
        lon, lat = healpix.compute_cell_centers(order + 9, (tile << 18) + np.arange(1 << 18, dtype=np.int64))
        step = 45.0 / 512 / 2**order
        wcs = WCS(fits.Header({"CTYPE1": "RA---HPX", "CTYPE2": "DEC--HPX", "CD1_1": -step, "CD1_2": -step, "CD2_1": step, "CD2_2": -step, "CRPIX1": 0.5, "CRPIX2": 0.5}))  # fmt: skip
        x, y = (np.rint(one).astype(int) for one in wcs.all_world2pix(lon, lat, 0))
        known = values[y - y.min(), x - x.min()]
        has = np.isfinite(known)
        seen += int(has.sum())
        away = np.abs(known - (100 * lon + lat))[has]
        assert np.quantile(away, 0.95) < 0.01  # of 2 from pixel to pixel
        assert away.max() < 1.1  # half a pixel beyond the centres of the outermost ones, these count
        png = Image.open(io.BytesIO(client.get(f"{AT}/Norder{order}/Dir0/Npix{tile}.png").body))
        assert np.array_equal(np.asarray(png)[..., 3] > 0, np.isfinite(values[::-1]))
    assert seen > 20_000


def test_levels_above_are_means_and_the_coverage_is_that_of_the_images(
    client: Client, mixed_survey: surveys.HipsSurvey
) -> None:
    tile = int(healpix.compute_cell_indexes(3, [45.0], [10.0])[0])
    coarse = fits.getdata(mixed_survey.place / "Norder3" / "Dir0" / f"Npix{tile}.fits")
    parts = [mixed_survey.place / "Norder4" / f"Dir{(4 * tile + at) // 10_000 * 10_000}" / f"Npix{4 * tile + at}.fits" for at in range(4)]  # fmt: skip
    fine = [fits.getdata(path) if path.exists() else np.full((512, 512), np.nan) for path in parts]
    # rows of FITS run against x, columns with y; bit 0 of a child is x
    whole = np.block([[fine[1], fine[3]], [fine[0], fine[2]]]).reshape(512, 2, 512, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of pixels without a value
        assert np.nanmax(np.abs(np.nanmean(whole, (1, 3)) - coarse)) < 1e-2
    assert np.array_equal(np.isfinite(coarse), np.isfinite(whole).any((1, 3)))
    moc = region_files.read_moc(client.get(f"{AT}/Moc.fits").body)
    assert moc.contains([45.0, 83.0, 266.4, 85.27], [10.0, 22.0, -28.93, -2.46]).tolist() == [True, False, True, True]
    allsky = Image.open(io.BytesIO(client.get(f"{AT}/Norder3/Allsky.png").body))
    assert allsky.size == (27 * 64, 29 * 64)
    cell = allsky.crop((64 * (tile % 27), 64 * (tile // 27), 64 * (tile % 27) + 64, 64 * (tile // 27) + 64))
    assert np.asarray(cell)[..., 3].any()


def test_a_survey_is_listed_and_documented(client: Client) -> None:
    record = client.get("/hipslist").text
    for line in (
        "creator_did          = ivo://example.org/sky/hips/mixed",
        f"hips_service_url     = https://vo.example{AT}",
        "obs_title            = The plane",
        "obs_copyright        = CC-BY-4.0",
        "hips_order           = 4",
        "hips_tile_format     = png fits",
    ):
        assert f"{line}\n" in record + "\n"
    assert client.get(f"{AT}/properties").text.strip() in record
    assert client.get(AT).text == client.get(f"{AT}/properties").text
    tile = client.get(f"{AT}/Norder3/Allsky.png")
    again = client.ask("GET", f"{AT}/Norder3/Allsky.png", headers={"if-none-match": tile.headers["etag"]})
    assert (again.status, tile.headers["cache-control"]) == (304, "public, no-cache")


def test_a_survey_is_offered_to_maps(client: Client) -> None:
    require_page_part("table.map")
    page = client.ask("GET", "/collections/sky/main", headers={"accept": "text/html"}).text
    assert f'data-surveys="https://vo.example{AT}"' in page


def test_the_hips_list_is_registered(client: Client) -> None:
    require_plugins("protocols", "oai")
    told = client.get("/oai", verb="ListRecords", metadataPrefix="ivo_vor").text
    (one,) = (record for record in told.split("<record>") if "/hips</identifier><datestamp>" in record)
    assert 'xsi:type="vs:DataService"' in one
    assert 'standardID="ivo://ivoa.net/std/hips#hipslist-1.0"' in one
    assert "/hipslist</accessURL>" in one


def test_a_single_cube_becomes_tiles_of_position_and_frequency(client: Client, service_context: ServiceContext) -> None:
    """Whose values, times and places alike, are those of the cube; each order above is half as fine in both."""
    made = surveys.build_hips_survey(service_context, OWNER_PRINCIPAL, "sky", "deep", patterns=["images/deep.fits"])
    said = made.properties
    assert (said["dataproduct_type"], said["hips_tile_depth"], made.files) == ("spectral-cube", "16", ("images/deep.fits",))  # fmt: skip
    order, fine = int(said["hips_order"]), int(said["hips_order_freq"])
    tiles = {one.relative_to(made.place).as_posix() for one in made.place.rglob("Npix*.fits")}
    assert made.tiles == len(tiles)
    assert {one.split("/")[0] for one in tiles} == {
        f"Norder{at}_{max(0, fine - order + at)}" for at in range(order + 1)
    }
    compared = 0
    for path in sorted(one for one in tiles if one.startswith(f"Norder{order}_")):
        found = fits.open(io.BytesIO(client.get(f"/collections/sky/hips/deep/{path}").body))[0]
        tile, number = found.header["NPIX"], found.header["FPIX"]
        assert (found.header["ORDER"], found.header["FORDER"]) == (order, fine)
        assert path.endswith(f"/Dir{tile // 10_000 * 10_000}_{number // 10 * 10}/Npix{tile}_{number}.fits")
        channels, rows, columns = np.nonzero(np.isfinite(found.data))
        # a tile's first row is its lowest: x of HEALPix goes up in it, y along it
        spread = sum((((63 - rows) >> bit & 1) << 2 * bit) + ((columns >> bit & 1) << 2 * bit + 1) for bit in range(6))
        lon, lat = healpix.compute_cell_centers(order + 6, (tile << 12) + spread)
        log = -18 + 56 * (number * 16 + channels + 0.5) / (16 * 2 ** (fine + 1))
        wanted = 100 * lon + lat + 1000 * (10**log / 1e9 - 100)
        inside = (wanted > 0) & (np.abs(lon - 45) < 1.1) & (np.abs(lat - 10) < 0.9) & (10**log > 100.0e9) & (10**log < 100.9e9)  # fmt: skip
        # values are slopes: interpolated, they are what their places and frequencies say
        assert np.abs(found.data[channels, rows, columns] - wanted)[inside].max(initial=0) < 1.5
        compared += int(inside.sum())
    assert compared > 100_000
    above = next(one for one in sorted(tiles) if one.startswith(f"Norder{order - 1}_"))
    coarse, head = fits.getdata(made.place / above), fits.getheader(made.place / above)
    below = [[made.place / f"Norder{order}_{fine}/Dir0_{(2 * head['FPIX'] + half) // 10 * 10}/Npix{4 * head['NPIX'] + at}_{2 * head['FPIX'] + half}.fits" for half in (0, 1)] for at in range(4)]  # fmt: skip
    parts = [[fits.getdata(one) if one.exists() else np.full((16, 64, 64), np.nan) for one in some] for some in below]
    whole = np.concatenate([np.concatenate([np.concatenate([parts[0][half], parts[2][half]], 2), np.concatenate([parts[1][half], parts[3][half]], 2)][::-1], 1) for half in (0, 1)])  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        mean = np.nanmean(whole.reshape(16, 2, 64, 2, 64, 2), axis=(1, 3, 5))
    assert np.allclose(coarse, mean, rtol=1e-5, equal_nan=True)
    listed = next(one for one in client.get("/hipslist").text.split("\n\n") if "/hips/deep" in one)
    assert f"hips_order_freq      = {fine}" in listed
    assert client.get(f"/collections/sky/hips/deep/{min(tiles)}x").status == 404


@pytest.mark.parametrize("path", ["made.json", "../mixed/properties", "Norder3/Dir0/../../made.json", "Norder3", "Norder4/Dir0/Npix1.fits", "Norder3/Dir0/Npix1.jpg"])  # fmt: skip
def test_nothing_else_is_given(client: Client, path: str) -> None:
    assert client.get(f"{AT}/{path}").status == 404
    assert client.get(f"/collections/..%2Fsky/hips/mixed/{path}").status == 404


def test_who_may_not_take_the_images_does_not_know_of_it(
    client: Client, site: Site, service_context: ServiceContext
) -> None:
    surveys.build_hips_survey(service_context, OWNER_PRINCIPAL, "shut", "dark", order=3)
    at = "/collections/shut/hips/dark/properties"
    assert client.get(at).status == 404
    assert "dark" not in client.get("/hipslist").text
    assert surveys.is_visible(service_context, OWNER_PRINCIPAL, next(surveys.list_hips_surveys(site.settings, "shut")))


def test_a_job_of_an_operator_makes_a_survey(client: Client, site: Site) -> None:
    who = {name: {"authorization": f"Bearer {site.store.users.add_account(name)}"} for name in ("anna", "olga")}
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = b"COLLECTION=sky&NAME=job&FILES=images/s*.fits&ORDER=3&PHASE=RUN"
    assert client.ask("POST", "/jobs/hips", body=body, headers=form).status == 401
    assert client.ask("POST", "/jobs/hips", body=b"NAME=x&PHASE=RUN", headers={**form, **who["olga"]}).status == 400
    for name, phase in (("anna", "ERROR"), ("olga", "COMPLETED")):
        made = client.ask("POST", "/jobs/hips", body=body, headers={**form, **who[name]})
        assert made.status == 303, made.text
        path = made.headers["location"].partition("/jobs")[2]
        assert run_next_job(site)
        assert phase in client.ask("GET", f"/jobs{path}/phase", headers=who[name]).text
    told = orjson.loads(client.ask("GET", f"/jobs{path}/results/made", headers=who["olga"]).body)
    assert (told["images"], told["name"]) == (2, "job")
    assert client.get("/collections/sky/hips/job/properties").status == 200


def test_the_verb_takes_patterns_of_files(client: Client, site: Site) -> None:
    words = ["--site", str(site.settings.directory), "hips", "sky", "images/slope*.fits", "--name", "slopes", "--json"]
    told = CliRunner().invoke(build_typer_app("hips"), [*words, "--order", "4"])
    assert told.exit_code == 0, told.output
    (made,) = orjson.loads(told.stdout)
    assert (made["name"], made["images"], made["left_out"]) == ("slopes", 2, {})
    told = CliRunner().invoke(build_typer_app("hips"), [*words[:4], "--name", "slopes", "--drop"])
    assert told.exit_code == 0, told.output
    assert client.get("/collections/sky/hips/slopes/properties").status == 404


def test_one_that_is_stopped_or_fails_leaves_the_old_one(site: Site, service_context: ServiceContext) -> None:
    home = site.settings.var_directory / "hips" / "sky"
    old = surveys.build_hips_survey(
        service_context,
        OWNER_PRINCIPAL,
        "sky",
        "kept",
        patterns=["*/slope.fits"],
        order=3,
        look=PictureStyle(colours="viridis"),
    )
    shares: list[float] = []
    with pytest.raises(OperationCancelledError):
        surveys.build_hips_survey(service_context, OWNER_PRINCIPAL, "sky", "kept", patterns=["*/slope*"], order=3, progress=ProgressMonitor(shares.append, lambda: bool(shares) and shares[-1] > 0.3))  # fmt: skip
    with pytest.raises(SourceError, match="none of the 1 images"):
        surveys.build_hips_survey(service_context, OWNER_PRINCIPAL, "sky", "kept", patterns=["*/blank.fits"], order=3)
    with pytest.raises(TooLargeError):
        surveys.build_hips_survey(service_context, OWNER_PRINCIPAL, "sky", "kept", patterns=["*/slope.fits"], order=20)
    for words in ({"survey_name": "../up"}, {"survey_name": ""}, {"survey_name": "kept", "patterns": ["*.png"]}):
        with pytest.raises(ParamError):
            surveys.build_hips_survey(service_context, OWNER_PRINCIPAL, "sky", **words)  # type: ignore[arg-type]
    (home / ".999999-dead.0").mkdir()  # of a process that died
    again = surveys.build_hips_survey(
        service_context, OWNER_PRINCIPAL, "sky", "kept", patterns=["*/slope2.fits"], order=3
    )
    assert again.place != old.place
    assert not old.place.exists()
    names = {path.name for path in home.iterdir()}
    assert not any(name.startswith(".") for name in names)
    surveys.delete_hips_survey(site.settings, "sky", "kept")
    assert {path.name for path in home.iterdir()} == {name for name in names if not name.startswith("kept")}


@pytest.mark.outside
@pytest.mark.needs("aladin.jar", "java")
def test_hipsgen_makes_a_survey_without_paths_of_this_machine(site: Site, service_context: ServiceContext) -> None:
    made = surveys.build_hips_survey(
        service_context,
        OWNER_PRINCIPAL,
        "sky",
        "gen",
        patterns=["*/slope.fits", "*/cut.fits"],
        order=3,
        program="hipsgen",
    )
    assert (made.files, [*made.left_out]) == (("images/slope.fits",), ["images/cut.fits"])
    tile = int(healpix.compute_cell_indexes(3, [45.0], [10.0])[0])
    assert (made.place / "Norder3" / "Dir0" / f"Npix{tile}.png").is_file()
    assert {path.name for path in made.place.iterdir()} <= {"properties", "made.json", "Moc.fits", *(f"Norder{at}" for at in range(4))}  # fmt: skip
    assert not [key for key in made.properties if key.startswith("hipsgen")]
    assert str(site.settings.directory) not in (made.place / "properties").read_text()


@pytest.mark.outside
@pytest.mark.needs("aladin.jar", "java")
def test_lint_of_hipsgen_finds_no_error(client: Client, mixed_survey: surveys.HipsSurvey, tmp_path: Path) -> None:
    shutil.copytree(mixed_survey.place, tmp_path / "hips")
    (tmp_path / "hips" / "properties").write_text(client.get(f"{AT}/properties").text)
    java = ["java", "-XX:TieredStopAtLevel=1", "-Xmx300m", "-Djava.awt.headless=true", "-jar", surveys.HIPSGEN_JAR]
    done = subprocess.run([*java, "-hipsgen", f"out={tmp_path / 'hips'}", "LINT"], capture_output=True, text=True, check=False)  # fmt: skip
    told = done.stdout + done.stderr
    assert "ERROR" not in told, told
    assert "IVOA HiPS 1.0 compatible" in told
    assert "is not IVOA" not in told


def test_hipsgen_that_is_not_there_is_told(service_context: ServiceContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "HIPSGEN_JAR", Path(os.devnull) / "aladin.jar")
    with pytest.raises(UserError, match="not installed"):
        surveys.build_hips_survey(service_context, OWNER_PRINCIPAL, "sky", "gen", program="hipsgen")
