"""HiPS of layers of planets: their tiles against the raster, what they say of the body, what is refused, and that an
interrupted one is continued."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
from asgi_client import Client
from astropy.io import fits
from PIL import Image
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model import plugins
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import (
    HvenError,
    NotFoundError,
    OperationCancelledError,
    ParamError,
    SourceError,
    StorageError,
    TooLargeError,
    UserError,
)
from hven.model.settings import load_settings
from hven.model.sky import healpix, region_files
from hven.plugins.hips import body_surveys, layer_surveys, surveys
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL
from plugin_needs import require_page_part, require_plugins

rasterio = pytest.importorskip("rasterio")
require_plugins("protocols", "body_maps")

SITE = 'public_url = "https://vo.example"\n[health]\noperators = ["olga"]\n'
DESCRIPTOR = """\
collection: {name}
title: Maps of Mars
licence: CC-BY-4.0
access: {access}
files: "maps/*"
layers:
  heights: {{file: maps/heights.tif, range: [-3, 3]}}
  codes: {{file: maps/codes.tif, colours: [1 red, 2 blue]}}
  west: {{file: maps/west.tif, frame: "IAU_2015:49901", range: [-3, 3]}}
  pole: {{file: maps/pole.tif, frame: "IAU_2015:49930", range: [-3, 3]}}
  part: {{file: maps/part.tif, title: Part, description: Made up, range: [-3, 3], colours: [0 blue, 1 red], unit: km}}
  photo: {{file: maps/photo.tif, kind: background, attribution: A data centre}}
  cap: {{file: maps/cap.tif, range: [-300, 300]}}
  void: {{file: maps/void.tif, nodata: 7, range: [0, 1]}}
tables:
  main: {{source: rows.csv, primary: id, columns: {{id: int32, ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}, dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}}}}}
"""
AT = "/collections/psup/hips"


def compute_height(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Compute values that tell where they are: different to the east and to the west, and smooth at the poles."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.cos(lat) * (np.sin(lon) + 0.5 * np.cos(lon)) + np.sin(lat)


def compute_cap_value(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Compute values that grow by 100 in a degree across the north pole."""
    return 100 * (90 - lat) * np.cos(np.radians(lon - 30))


def compute_colours(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Compute red that grows to the east, and green that grows to the north."""
    return np.stack([10 * (lon % 360 - 169) + 0 * lat, 10 * (lat - 5) + 0 * lon, 100 + 0 * lon + 0 * lat])


def write_tiff(path: Path, values: np.ndarray, bounds: tuple[float, ...], **options: object) -> None:
    values = values if values.ndim == 3 else values[np.newaxis]
    count, height, width = values.shape
    profile = {"crs": "IAU_2015:49900", "transform": rasterio.transform.from_bounds(*bounds, width, height)}
    profile |= {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": values.dtype, **options}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)


def write_rasters(folder: Path) -> None:
    lat, lon = 89.5 - np.arange(180)[:, None], np.arange(360)[None, :] - 179.5
    heights = compute_height(lon, lat).astype("f4")
    write_tiff(folder / "heights.tif", heights, (-180, -90, 180, 90))
    ratio = (3376200 / 3396190) ** 2
    ocentric = np.degrees(np.arctan(np.tan(np.radians(lat)) * ratio))
    west = compute_height(-(np.arange(360)[None, :] + 0.5), ocentric).astype("f4")
    write_tiff(folder / "west.tif", west, (0, -90, 360, 90), crs=None)
    half = 3396190.0
    x, y = np.meshgrid((np.arange(200) + 0.5) / 100 - 1, 1 - (np.arange(200) + 0.5) / 100)
    pole_lat = 90 - 2 * np.degrees(np.arctan(np.hypot(x, y) / 2))
    pole = compute_height(np.degrees(np.arctan2(x, -y)), pole_lat).astype("f4")
    write_tiff(folder / "pole.tif", pole, (-half, -half, half, half), crs=None)
    part_lat, part_lon = 20 - (np.arange(80)[:, None] + 0.5) / 8, 170 + (np.arange(160)[None, :] + 0.5) / 8
    write_tiff(folder / "part.tif", compute_height(part_lon, part_lat).astype("f4"), (170, 10, 190, 20))
    write_tiff(folder / "photo.tif", compute_colours(part_lon, part_lat).astype("u1"), (170, 10, 190, 20))
    write_tiff(folder / "codes.tif", (1 + (part_lon > 180) + 0 * part_lat).astype("u1"), (170, 10, 190, 20))
    # rows of 0.0143 degrees, so that tiles have 512 x 512 pixels
    cap_lat, cap_lon = 90 - (np.arange(210)[:, None] + 0.5) * 3 / 210, (np.arange(3600)[None, :] + 0.5) / 10
    write_tiff(folder / "cap.tif", compute_cap_value(cap_lon, cap_lat).astype("f4"), (0, 87, 360, 90))
    write_tiff(folder / "void.tif", np.full((80, 160), 7, "f4"), (170, 10, 190, 20))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("bodies")
    for name, access in (("psup", "public"), ("shut", "private")):
        folder = directory / "collections" / name / "maps"
        folder.mkdir(parents=True)
        (folder.parent / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, access=access))
        (folder.parent / "rows.csv").write_text("id,ra,dec\n1,45,10\n")
        write_rasters(folder)
    (directory / "hven.toml").write_text(SITE)
    with Site(load_settings(directory)) as opened_site:
        for name in ("psup", "shut"):
            ingest_collection(opened_site, name)
        yield opened_site


@pytest.fixture(scope="module")
def context(site: Site) -> ServiceContext:
    return ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def build(context: ServiceContext, layer: str, name: str = "", **options: object) -> surveys.HipsSurvey:
    return layer_surveys.build_layer_survey(context, OWNER_PRINCIPAL, "psup", layer, name or layer, **options)  # type: ignore[arg-type]


def read_tiles(survey: surveys.HipsSurvey, order: int, extension: str) -> dict[int, Path]:
    paths = survey.place.glob(f"Norder{order}/Dir*/Npix*.{extension}")
    return {int(path.stem.removeprefix("Npix")): path for path in paths}


def compute_tile_places(survey: surveys.HipsSurvey, order: int, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute where the pixels of a tile's picture are: its rows follow x of HEALPix, its columns y."""
    width = int(survey.properties["hips_tile_width"])
    orders = width.bit_length() - 1
    x, y = np.mgrid[:width, :width]
    cells = sum(((x >> bit & 1) << 2 * bit) + ((y >> bit & 1) << 2 * bit + 1) for bit in range(orders))
    lon, lat = healpix.compute_cell_centers(order + orders, ((tile << 2 * orders) + cells).ravel())
    return lon.reshape(x.shape), lat.reshape(x.shape)


@pytest.fixture(scope="module")
def heights(context: ServiceContext) -> surveys.HipsSurvey:
    return build(context, "heights")


def check_values(survey: surveys.HipsSurvey, share: float) -> None:
    """Check that values are where the frame says, and that they cover a share of the body, as the coverage does."""
    order = int(survey.properties["hips_order"])
    compared = 0
    for tile, path in read_tiles(survey, order, "fits").items():
        lon, lat = compute_tile_places(survey, order, tile)
        values = fits.getdata(path)[::-1]
        has_data = np.isfinite(values)
        # between pixels of a degree, values are interpolated linearly
        assert np.abs(values - compute_height(lon, lat))[has_data].max() < 2e-2
        compared += int(has_data.sum())
    found_share = compared / (12 * 4**order * int(survey.properties["hips_tile_width"]) ** 2)
    assert share * 0.98 <= found_share <= share * 1.1 + 1e-9
    assert found_share <= float(survey.properties["moc_sky_fraction"]) + 1e-6 <= found_share * 1.5 + 1e-3


def test_values_are_where_the_frame_of_the_raster_says(heights: surveys.HipsSurvey) -> None:
    check_values(heights, 1.0)


@pytest.mark.parametrize(
    ("layer", "share"),
    [
        ("west", 1.0),
        ("pole", 0.2394),  # of the square around the pole
        ("part", 20 / 360 * (np.sin(np.radians(20)) - np.sin(np.radians(10))) / 2),
    ],
)
def test_values_of_other_frames_are_eastward_and_ocentric(context: ServiceContext, layer: str, share: float) -> None:
    """Longitudes to the west with planetographic latitudes, a polar projection, and a box across 180 degrees."""
    check_values(build(context, layer), share)


def test_values_at_a_pole_are_as_exact_as_elsewhere(context: ServiceContext) -> None:
    """There, a tile has all longitudes, and is read in blocks."""
    survey = build(context, "cap")
    assert survey.properties["hips_tile_width"] == "512"
    compared = 0
    for tile, path in read_tiles(survey, 3, "fits").items():
        lon, lat = compute_tile_places(survey, 3, tile)
        values = fits.getdata(path)[::-1]
        is_inside = np.isfinite(values) & (lat < 90 - 3 / 210)  # not in the row at the pole, which has all longitudes
        assert np.abs(values - compute_cap_value(lon, lat))[is_inside].max(initial=0) < 1.5  # a pixel
        compared += int(is_inside.sum())
    assert compared > 100_000


def test_control_points_have_the_pixel_of_the_raster(context: ServiceContext, heights: surveys.HipsSurvey) -> None:
    """The place of each of 300 points in the raster, by its own transformation, and the tile's value there."""
    order, width = int(heights.properties["hips_order"]), int(heights.properties["hips_tile_width"])
    generator = np.random.default_rng(44)
    lon, lat = generator.uniform(-180, 180, 300), np.degrees(np.arcsin(generator.uniform(-1, 1, 300)))
    with rasterio.open(context.site.settings.directory / "collections/psup/maps/heights.tif") as dataset:
        band = dataset.read(1)
        rows, columns = rasterio.transform.rowcol(dataset.transform, lon, lat)
    tiles, x, y = healpix.locate_in_cells(order, lon, lat)
    paths = read_tiles(heights, order, "fits")
    for point in range(300):
        value = fits.getdata(paths[int(tiles[point])])[::-1][int(x[point] * width), int(y[point] * width)]
        assert abs(value - band[rows[point], columns[point]]) < 0.03  # a pixel away, it is 0.02


def test_pictures_have_the_colours_of_the_layer(context: ServiceContext) -> None:
    survey = build(context, "photo")
    assert survey.properties["hips_tile_format"] == "png"
    assert survey.properties["dataproduct_subtype"] == "color"
    assert survey.properties["obs_ack"] == "A data centre"
    for tile, path in read_tiles(survey, 3, "png").items():
        lon, lat = compute_tile_places(survey, 3, tile)
        with Image.open(path) as picture:
            pixels = np.asarray(picture).astype(float)
        is_opaque = pixels[..., 3] == 255
        assert (is_opaque | (pixels[..., 3] == 0)).all()
        wanted = np.moveaxis(compute_colours(lon, lat), 0, 2)
        assert np.abs(pixels[..., :3] - wanted)[is_opaque].max() < 2.5
    (top,) = read_tiles(survey, 0, "png").values()
    with Image.open(top) as picture:
        assert np.asarray(picture)[..., 3].any()


def test_codes_are_not_averaged(context: ServiceContext) -> None:
    survey = build(context, "codes")
    assert survey.properties["hips_hierarchy"] == "nearest"
    for order in range(4):
        for path in read_tiles(survey, order, "fits").values():
            values = fits.getdata(path)
            assert set(np.unique(values[np.isfinite(values)])) <= {1.0, 2.0}


def test_properties_name_the_body(client: Client, context: ServiceContext, heights: surveys.HipsSurvey) -> None:
    build(context, "part", "named", title="The heights")
    record = client.get(f"{AT}/named/properties").text
    lines = dict(line.split("=", 1) for line in record.splitlines())
    properties = {key.strip(): value.strip() for key, value in lines.items()}
    wanted = {
        "hips_body": "mars", "hips_frame": "mars", "dataproduct_type": "image", "hips_order": "3",
        "hips_tile_width": "64", "hips_tile_format": "png fits", "obs_title": "The heights", "obs_copyright": "CC-BY-4.0",
        "client_category": "Solar system/Mars", "obs_description": "Made up", "hips_pixel_cut": "-3 3",
        "creator_did": "ivo://example.org/psup/hips/named", "hips_initial_ra": "180.000000",
        "hips_initial_dec": "15.000000", "hips_initial_fov": "20",
    }  # fmt: skip
    assert {key: properties[key] for key in wanted} == wanted
    assert record.strip() in client.get("/hipslist").text
    assert heights.tiles == 768 + 192 + 48 + 12
    moc = client.get(f"{AT}/heights/Moc.fits").body
    assert fits.open(io.BytesIO(moc))[1].header["COORDSYS"] == "mars"
    assert region_files.read_moc(moc).fraction == 1.0
    allsky = Image.open(io.BytesIO(client.get(f"{AT}/heights/Norder3/Allsky.png").body))
    assert np.asarray(allsky)[:64, :64, 3].all()


def test_maps_of_the_sky_do_not_offer_it(client: Client, heights: surveys.HipsSurvey) -> None:
    require_page_part("table.map")
    page = client.ask("GET", "/collections/psup/main", headers={"accept": "text/html"}).text
    assert "hips/heights" not in page


@pytest.mark.parametrize(("layer", "extension"), [("photo", "png"), ("part", "fits")])
def test_an_interrupted_one_is_continued(
    context: ServiceContext, layer: str, extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(context, layer, "whole")
    shares: list[float] = []
    with pytest.raises(OperationCancelledError):
        build(context, layer, "again", progress=ProgressMonitor(shares.append, lambda: shares[-1:] > [0.6]))
    (unfinished,) = whole.place.parent.glob("again.*.unfinished")
    earlier = list(unfinished.rglob(f"*.{extension}"))
    assert earlier
    earlier[0].with_suffix(".part").write_bytes(b"half")
    sampled: list[int] = []
    sample_tile = body_surveys._BodyHipsBuilder._sample_tile

    def count_tile(builder: body_surveys._BodyHipsBuilder, tile: int) -> body_surveys.BodyTile:
        sampled.append(tile)
        return sample_tile(builder, tile)

    monkeypatch.setattr(body_surveys._BodyHipsBuilder, "_sample_tile", count_tile)
    again = build(context, layer, "again")
    assert not {int(path.stem.removeprefix("Npix")) for path in earlier if "Norder3" in str(path)} & set(sampled)
    assert sampled
    assert not unfinished.exists()
    assert again.tiles == whole.tiles
    for path in whole.place.rglob("Npix*"):
        assert (again.place / path.relative_to(whole.place)).read_bytes() == path.read_bytes()
    assert not list(again.place.rglob("*.part"))


def test_one_process_builds_it_at_a_time(context: ServiceContext) -> None:
    directory = context.site.settings.var_directory / "hips/psup"
    with (
        layer_surveys._open_unfinished_survey(directory, "busy", ("state",)),
        pytest.raises(UserError, match="another process"),
    ):
        build(context, "part", "busy")


def test_strange_input_is_refused(context: ServiceContext, monkeypatch: pytest.MonkeyPatch) -> None:
    for layer, name, options, error, words in (
        ("missing", "x", {}, ParamError, "no layer"),
        ("heights", "../up", {}, ParamError, "not a valid name"),
        ("heights", "", {"order": 4}, ParamError, "no pixels for tiles of order 4"),
        ("heights", "", {"order": 2}, ParamError, "order 2"),
        ("void", "", {}, SourceError, "no pixels with data"),
    ):
        with pytest.raises(error, match=words):
            build(context, layer, name, **options)
    with pytest.raises(NotFoundError):
        layer_surveys.build_layer_survey(context, OWNER_PRINCIPAL, "nowhere", "heights", "x")
    monkeypatch.setattr(body_surveys, "MAX_FINEST_TILES", 5)
    with pytest.raises(TooLargeError):
        build(context, "part", "large")
    monkeypatch.undo()
    monkeypatch.setattr(body_surveys, "TILE_BYTES_PER_PIXEL", 1 << 50)
    with pytest.raises(StorageError):
        build(context, "part", "large")
    assert not list((context.site.settings.var_directory / "hips/psup").glob("large*"))


def test_without_the_package_of_layers_it_says_so(context: ServiceContext) -> None:
    plugins.select_plugin_packages(["hips", "previews"])
    try:
        with pytest.raises(UserError, match="reads layers of planets"):
            build(context, "part", "x")
    finally:
        plugins.select_plugin_packages(None)


def test_a_raster_that_changes_is_not_shown(
    client: Client, context: ServiceContext, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while the HiPS is built, nor afterwards, when another raster is published."""
    path = site.settings.directory / "collections/psup/maps/part.tif"
    content, state = path.read_bytes(), path.stat()
    build(context, "part", "changing")
    assert client.get(f"{AT}/changing/properties").status == 200
    write_metadata = body_surveys._BodyHipsBuilder.write_metadata

    def change_raster(builder: object, properties: object) -> object:
        path.write_bytes(content)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 5_000_000_000))
        return write_metadata(builder, properties)  # type: ignore[arg-type]

    monkeypatch.setattr(body_surveys._BodyHipsBuilder, "write_metadata", change_raster)
    with pytest.raises(SourceError, match="has changed"):
        build(context, "part", "changed")
    assert not list((site.settings.var_directory / "hips/psup").glob("changed.*.unfinished"))
    monkeypatch.undo()
    ingest_collection(site, "psup")
    monkeypatch.setattr(surveys, "VISIBILITY_CACHE_SECONDS", -1.0)
    assert Client(create_and_start_application(site)).get(f"{AT}/changing/properties").status == 404
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    ingest_collection(site, "psup")


def test_readers_without_the_raster_do_not_see_it(client: Client, context: ServiceContext, site: Site) -> None:
    layer_surveys.build_layer_survey(context, OWNER_PRINCIPAL, "shut", "part", "hidden")
    assert client.get("/collections/shut/hips/hidden/properties").status == 404
    assert "hidden" not in client.get("/hipslist").text
    with pytest.raises(HvenError):
        layer_surveys.build_layer_survey(context, ANONYMOUS_PRINCIPAL, "shut", "part", "x")


def test_the_verb_builds_it(site: Site) -> None:
    words = ["--site", str(site.settings.directory), "hips", "psup", "--layer", "part", "--json"]
    told = CliRunner().invoke(build_typer_app("hips"), words)
    assert told.exit_code == 0, told.output
    (made,) = orjson.loads(told.stdout)
    assert (made["name"], made["properties"]["hips_body"]) == ("part", "mars")
    for extra in (["--stretch", "log"], ["--with", "hipsgen"]):
        refused = CliRunner().invoke(build_typer_app("hips"), [*words, *extra])
        assert refused.exit_code != 0
    without_collection = CliRunner().invoke(build_typer_app("hips"), [*words[:3], "--layer", "part"])
    assert without_collection.exit_code != 0
    (site.settings.var_directory / "hips/psup/part.0123.unfinished").mkdir()
    dropped = CliRunner().invoke(build_typer_app("hips"), [*words[:4], "--name", "part", "--drop"])
    assert dropped.exit_code == 0, dropped.output
    left = {path.suffix for path in (site.settings.var_directory / "hips/psup").glob("part.*")}
    assert left == {".lock"}


def test_a_job_of_an_operator_builds_it(client: Client, site: Site) -> None:
    key = {"authorization": f"Bearer {site.store.users.add_account('olga')}"}
    form = {"content-type": "application/x-www-form-urlencoded", **key}
    body = b"COLLECTION=psup&LAYER=part&NAME=job&TITLE=Made&PHASE=RUN"
    for more, name in ((b"&STRETCH=log", "STRETCH"), (b"&FILES=maps/*", "FILES")):
        refused = client.ask("POST", "/jobs/hips", body=body + more, headers=form)
        assert refused.status == 400
        assert name in refused.text
    made = client.ask("POST", "/jobs/hips", body=body, headers=form)
    assert made.status == 303, made.text
    path = made.headers["location"].partition("/jobs")[2]
    assert run_next_job(site)
    assert "COMPLETED" in client.ask("GET", f"/jobs{path}/phase", headers=key).text
    assert "obs_title            = Made\n" in client.get(f"{AT}/job/properties").text


@pytest.mark.outside
@pytest.mark.needs("aladin.jar", "java")
def test_lint_of_hipsgen_finds_no_error(client: Client, heights: surveys.HipsSurvey, tmp_path: Path) -> None:
    shutil.copytree(heights.place, tmp_path / "hips")
    (tmp_path / "hips" / "properties").write_text(client.get(f"{AT}/heights/properties").text)
    java = ["java", "-XX:TieredStopAtLevel=1", "-Xmx300m", "-Djava.awt.headless=true", "-jar", surveys.HIPSGEN_JAR]
    words = [*java, "-hipsgen", f"out={tmp_path / 'hips'}", "LINT"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    text = done.stdout + done.stderr
    assert "ERROR" not in text, text
    assert "IVOA HiPS 1.0 compatible" in text
    assert "is not IVOA" not in text
