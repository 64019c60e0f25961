"""Films of example 33: frames as decoded by FFmpeg, and contours as sunpy turns and projects them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi_client import Answer, Client
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from example_sites import ingest_all, open_example
from hven.app._server import create_and_start_application
from hven.formats.media import open_product
from hven.model.errors import SourceError
from hven.model.settings import load_settings
from hven.plugins.films import film_pages, film_writer
from hven.plugins.films.film_frames import HALF_WIDTH_RADII, read_film_frame
from hven.plugins.films.film_writer import locate_on_film
from hven.plugins.films.turned_contours import SunContour, choose_contours, locate_on_disc, move_contour
from hven.plugins.image_regions.solar_headers import build_solar_disc_image
from hven.site import Site

pytestmark = pytest.mark.slow
DAY = 86_400_000_000
START = int(np.datetime64("2014-03-10", "us").astype(int))
REGIONS = [(190.0, 15.0, 6.0), (225.0, -22.0, 5.0), (250.0, 4.0, 7.0)]  # of make_data.py, in front of the limb for days
PAGE = "/collections/sun/images/film"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Site, Client]]:
    with open_example("33-sun-film", tmp_path_factory.mktemp("films")) as directory:
        ingest_all(directory)
        with Site(load_settings(directory)) as site:
            yield directory, site, Client(create_and_start_application(site))


def decode(answer: Answer) -> tuple[list[np.ndarray], Any]:
    av = pytest.importorskip("av")
    assert answer.status == 200, answer.text[:3000]
    with av.open(io.BytesIO(answer.body)) as film:
        stream = film.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(stream)]
        return frames, (stream.codec_context.name, float(stream.average_rate))


def list_headers(directory: Path) -> list[fits.Header]:
    return [fits.getheader(path) for path in sorted((directory / "collections/sun/data").glob("*.fits"))]


def outline(lon: float, lat: float, half: float) -> SunContour:
    sides = np.linspace(-half, half, 9)
    x = np.concatenate([sides, np.full(9, half), sides[::-1], np.full(9, -half)])
    y = np.concatenate([np.full(9, -half), sides, np.full(9, half), sides[::-1]])
    return SunContour(lon=lon + x, lat=lat + y, instant=START)


def test_the_film_has_a_frame_for_each_image(example: tuple[Path, Site, Client]) -> None:
    _, _, client = example
    answer = client.get(f"{PAGE}.mp4?_width=256&_rate=4")
    assert (answer.status, answer.headers["content-type"]) == (200, "video/mp4"), answer.text
    frames, (codec, rate) = decode(answer)
    assert (len(frames), rate) == (13, 4.0)
    assert codec in {"h264", "mpeg4"}
    assert frames[0].shape == (276, 256, 3)
    part = client.ask("GET", f"{PAGE}.mp4", b"_width=256&_rate=4", headers={"range": "bytes=0-99"})
    assert (part.status, part.body) == (206, answer.body[:100])
    again = client.ask("GET", f"{PAGE}.mp4", b"_width=256&_rate=4", headers={"if-none-match": answer.headers["etag"]})
    assert again.status == 304


def test_images_are_upright_and_contours_turn_with_the_regions(example: tuple[Path, Site, Client]) -> None:
    """The camera is turned and moved, the Sun turns: bright pixels stay inside the contours in all frames."""
    directory, _, client = example
    plain, _ = decode(client.get(f"{PAGE}.mp4?_width=256"))
    drawn, _ = decode(client.get(f"{PAGE}.mp4?_width=256&_contours=sun.regions"))
    from PIL import Image, ImageDraw

    for number, (frame, header) in enumerate(zip(plain, list_headers(directory), strict=True)):
        disc = build_solar_disc_image(header)
        is_bright = frame[:256].min(axis=2) > 140
        inside = Image.new("1", (256, 256))
        visible = 0
        for region in REGIONS:
            u, v = locate_on_disc(disc, *move_contour(outline(*region), START + number * DAY // 3))
            if np.isfinite(u).all():
                x, y = locate_on_film(u, v, 256)
                ImageDraw.Draw(inside).polygon(list(zip(x.tolist(), y.tolist(), strict=True)), fill=1)
                visible += 1
        mask = np.asarray(inside)
        assert visible >= 1
        assert (is_bright & mask).sum() / mask.sum() > 0.8, number
        difference = np.abs(drawn[number] - frame).max(axis=2)[:256]
        assert (difference > 60).sum() > 20 * visible, "lines are drawn"


def test_places_are_where_sunpy_projects_them(example: tuple[Path, Site, Client]) -> None:
    pytest.importorskip("sunpy")
    from sunpy.coordinates import HeliographicCarrington, Helioprojective

    directory, _, _ = example
    rng = np.random.default_rng(5)
    for header in list_headers(directory)[::4]:
        lon = header["CRLN_OBS"] + rng.uniform(-60, 60, 40)
        lat = rng.uniform(-60, 60, 40)
        disc = build_solar_disc_image(header)
        u, v = locate_on_disc(disc, lon, lat)
        x, y = disc.to_pixels(np.zeros(40, np.int64), u, v)
        observer = HeliographicCarrington(
            header["CRLN_OBS"] * units.deg,
            header["CRLT_OBS"] * units.deg,
            header["DSUN_OBS"] * units.m,
            obstime=header["DATE-OBS"],
            observer="self",
        )
        places = SkyCoord(
            lon * units.deg,
            lat * units.deg,
            header["RSUN_REF"] * units.m,
            frame=HeliographicCarrington(obstime=header["DATE-OBS"], observer=observer),
        )
        seen = places.transform_to(Helioprojective(obstime=header["DATE-OBS"], observer=observer))
        plain = fits.Header(
            {key: header[key] for key in header if key[:3] in {"CTY", "CUN", "CDE", "CRP", "CRV", "PC1", "PC2"}}
        )
        expected = WCS(plain, naxis=2).wcs_world2pix(
            np.stack([seen.Tx.to_value(units.deg), seen.Ty.to_value(units.deg)], axis=1), 0
        )
        is_seen = np.isfinite(x)
        assert is_seen.sum() > 30
        assert np.abs(x - expected[:, 0])[is_seen].max() < 0.05
        assert np.abs(y - expected[:, 1])[is_seen].max() < 0.05


def test_contours_turn_as_sunpy_says() -> None:
    pytest.importorskip("sunpy")
    from sunpy.sun.models import differential_rotation

    lat = np.linspace(-70, 70, 15)
    contour = SunContour(lon=np.full(15, 100.0), lat=lat, instant=START)
    for days in (-2.5, 0.0, 3.25):
        lon, same = move_contour(contour, START + round(days * DAY))
        expected = differential_rotation(days * units.day, lat * units.deg, model="snodgrass")
        assert np.array_equal(same, lat)
        turned = lon - 100.0 + 14.1844 * days - expected.to_value(units.deg)
        assert np.abs((turned + 180) % 360 - 180).max() < 1e-6


def test_differences_are_those_of_aligned_images(example: tuple[Path, Site, Client]) -> None:
    """Outside of the regions the aligned images are alike, although the camera has turned."""
    directory, _, client = example
    frames, _ = decode(client.get(f"{PAGE}.mp4?_width=256&_difference=running"))
    assert len(frames) == 13
    paths = sorted((directory / "collections/sun/data").glob("*.fits"))
    first, second = (read_film_frame(path, path.name, 256).values for path in paths[:2])
    y, x = (np.mgrid[:256, :256] + 0.5) / 128 - 1
    is_inner = np.hypot(x, y) * HALF_WIDTH_RADII < 0.9
    difference = np.abs(second - first)[is_inner]
    assert np.median(difference) < 30
    assert difference.max() > 1500, "the regions move"
    base, _ = decode(client.get(f"{PAGE}.mp4?_width=256&_difference=base"))
    assert np.array_equal(base[0].shape, frames[0].shape)
    assert np.abs(base[5] - frames[5]).max() > 60


def test_a_cadence_thins_the_film(example: tuple[Path, Site, Client]) -> None:
    _, _, client = example
    described = json.loads(client.ask("GET", PAGE, b"_every=1+d", headers={"accept": "application/json"}).body)
    assert 4 <= described["frames"] <= 6
    frames, _ = decode(client.get(f"{PAGE}.mp4?_width=256&_every=1+d"))
    assert len(frames) == described["frames"]


def test_the_page_offers_the_film(example: tuple[Path, Site, Client]) -> None:
    _, _, client = example
    assert "/collections/sun/images/film" in client.get("/collections/sun/images").text
    page = client.get(f"{PAGE}?_contours=sun.regions").text
    assert "<video" in page
    assert "film.mp4?_contours=sun.regions" in page
    assert "13 images" in page
    assert "Bright regions" in page
    answer = client.get(PAGE)
    assert "media-src 'self'" in answer.headers["content-security-policy"], "else browsers block the film"
    assert "style=" not in answer.text.partition("<main")[2], "the policy forbids it"
    assert "media-src" not in client.get("/collections/sun/images").headers["content-security-policy"]
    french = client.ask("GET", PAGE, headers={"accept-language": "fr"}).text
    assert "Images par seconde" in french


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("_difference=other", 400),
        ("_rate=1000", 400),
        ("_width=1e9", 400),
        ("_contours=sun.nothing", 404),
        ("_contours=sun.images", 404),
        ("date_obs=1990", 404),  # no images
    ],
)
def test_wrong_films_are_told(example: tuple[Path, Site, Client], query: str, status: int) -> None:
    assert example[2].get(f"{PAGE}.mp4?{query}").status == status


def test_tables_without_files_have_no_film(example: tuple[Path, Site, Client]) -> None:
    assert "/film" not in example[2].get("/collections/sun/regions").text, "no link leads to a page that is not there"
    assert example[2].get("/collections/sun/regions/film").status == 404
    assert example[2].get("/collections/sun/regions/film.mp4").status == 404


def test_long_searches_are_cut_and_say_so(example: tuple[Path, Site, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_pages, "MAX_FRAMES", 5)
    described = json.loads(example[2].ask("GET", PAGE, headers={"accept": "application/json"}).body)
    assert (described["frames"], described["is_cut"]) == (5, True)


def test_slow_films_are_refused(example: tuple[Path, Site, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_writer, "MAX_FILM_SECONDS", -1.0)
    answer = example[2].get(f"{PAGE}.mp4?_width=768")
    assert answer.status >= 400
    assert "longer cadence" in answer.text


def test_a_film_has_only_images_that_the_reader_may_take(tmp_path: Path) -> None:
    with open_example("33-sun-film", tmp_path) as directory:
        descriptor = directory / "collections/sun/sun.yaml"
        text = descriptor.read_text(encoding="utf-8")
        for line, more in (
            ("    primary: name\n", "    access: {take: \"name < 'sun_20140311'\", path: path}\n"),
            ('      name: "{file.name}"\n', '      path: "{file.path}"\n'),
            ("    columns:\n", "      path: {type: string, description: Path of the file}\n"),
        ):
            assert line in text
            text = text.replace(line, line + more, 1)
        descriptor.write_text(text, encoding="utf-8")
        ingest_all(directory)
        with Site(load_settings(directory)) as site:
            client = Client(create_and_start_application(site))
            described = json.loads(client.ask("GET", PAGE, headers={"accept": "application/json"}).body)
            assert described["frames"] == 3
            frames, _ = decode(client.get(f"{PAGE}.mp4?_width=256"))
            assert len(frames) == 3


def test_without_the_library_the_page_says_so(
    example: tuple[Path, Site, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film_pages, "can_write_films", lambda: False)
    monkeypatch.setattr(film_writer, "can_write_films", lambda: False)
    page = example[2].get(PAGE)
    assert page.status == 200
    assert "<video" not in page.text
    assert "hven[films]" in example[2].get(f"{PAGE}.mp4?_width=384").text


def test_damaged_images_are_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.fits"
    path.write_bytes(b"SIMPLE  = nothing")
    with pytest.raises(SourceError):
        read_film_frame(path, "bad.fits", 256)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    with pytest.raises(SourceError):
        read_film_frame(tmp_path / "table.fits", "table.fits", 256)


def test_images_without_the_sun_are_shown_as_they_are(tmp_path: Path) -> None:
    values = np.zeros((40, 80), "f4")
    values[30:, :10] = 1.0  # above, on the left
    fits.PrimaryHDU(values).writeto(tmp_path / "a.fits")
    frame = read_film_frame(tmp_path / "a.fits", "a.fits", 160)
    assert frame.disc is None
    assert frame.values[45, 5] == 1.0
    assert frame.values[45, 60] == 0.0
    assert np.isnan(frame.values[5, 5]), "the picture is wider than high"
    with open_product(tmp_path / "a.fits") as product:
        assert product.arrays


def write_jpeg2000(path: Path, picture: np.ndarray, cards: dict[str, object]) -> None:
    """Write a picture as Helioviewer does, with the header of the original in XML before the pixels."""
    Image.fromarray(picture).save(path, "JPEG2000", irreversible=False)
    body = path.read_bytes()
    text = "".join(f"<{name}>{value}</{name}>" for name, value in cards.items())
    xml = f"<meta><fits>{text}</fits></meta>".encode()
    place = body.index(b"jp2c") - 4
    path.write_bytes(body[:place] + (8 + len(xml)).to_bytes(4, "big") + b"xml " + xml + body[place:])


def test_pictures_are_placed_like_the_originals(example: tuple[Path, Site, Client], tmp_path: Path) -> None:
    """A quarter of the size, in grey levels, with the header of the original: the Sun is in the same place."""
    path = min((example[0] / "collections/sun/data").glob("*.fits"))
    original = read_film_frame(path, path.name, 64)
    with fits.open(path) as hdus:
        hdu = next(one for one in hdus if one.data is not None)
        header, values = hdu.header, np.asarray(hdu.data, float)
    small = values.reshape(values.shape[0] // 4, 4, values.shape[1] // 4, 4).mean(axis=(1, 3))
    levels = np.clip(255 * (small - small.min()) / np.ptp(small), 0, 255).astype(np.uint8)
    cards = {name: value for name, value in header.items() if name.isidentifier() and name != "COMMENT"}
    cards |= {name: header[name] for name in ("DATE-OBS",) if name in header}
    write_jpeg2000(tmp_path / "small.jp2", levels[::-1], cards)
    picture = read_film_frame(tmp_path / "small.jp2", "small.jp2", 64)
    assert original.disc is not None
    assert picture.disc is not None
    assert picture.disc.radius[0] == original.disc.radius[0]
    levels_here = np.nan_to_num(picture.values)
    likeness = {
        (down, right): np.corrcoef(
            np.nan_to_num(original.values).ravel(), np.roll(levels_here, (down, right), (0, 1)).ravel()
        )[0, 1]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    assert max(likeness, key=lambda shift: likeness[shift]) == (0, 0), likeness
    assert likeness[0, 0] > 0.9


def test_a_picture_without_a_header_is_shown_upright(tmp_path: Path) -> None:
    picture = np.zeros((40, 80), np.uint8)
    picture[:10, :10] = 255  # above, on the left
    for name in ("a.png", "a.jp2"):
        Image.fromarray(picture).save(tmp_path / name)
        frame = read_film_frame(tmp_path / name, name, 160)
        assert frame.disc is None
        assert (frame.values[45, 5], frame.values[45, 60]) == (255, 0)
    (tmp_path / "bad.jp2").write_bytes((tmp_path / "a.jp2").read_bytes()[:60])
    with pytest.raises(SourceError):
        read_film_frame(tmp_path / "bad.jp2", "bad.jp2", 64)


def test_contours_of_the_nearest_observation_are_drawn() -> None:
    early, late = (SunContour(lon=np.zeros(3), lat=np.zeros(3), instant=START + day * DAY) for day in (0, 2))
    assert choose_contours([early, late], START + DAY // 2) == [early]
    assert choose_contours([early, late], START + 3 * DAY) == [late]
    assert choose_contours([], START) == []
