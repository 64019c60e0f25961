"""Pictures of products, judged by what their pixels mean: which way is up, which value has which colour, where a curve goes; and bad files."""

from __future__ import annotations

import bz2
import io
import time
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image, ImageFont

from hven.formats.media import ArrayPart, Axis, open_product
from hven.model.errors import SourceError
from hven.plugins.previews.pictures import PictureStyle, draw_files, draw_refusal_message, has_contrast, raster_pictures
from hven.plugins.previews.pictures import canvas as sheets
from hven.plugins.previews.pictures import file_pictures as drawing
from hven.plugins.previews.pictures.appearance import choose_stretch
from hven.plugins.previews.pictures.canvas import choose_ticks
from hven.plugins.previews.pictures.downsampling import read_cell_means
from hven.plugins.previews.pictures.interferometry import _compute_disc_visibility, read_calibrators
from plugin_needs import require_plugins
from shared import shared

PLAIN = PictureStyle(size=200, axes=False)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def draw_picture(path: Path, look: PictureStyle = PLAIN) -> Image.Image:
    return Image.open(io.BytesIO(draw_files([(path, path.name)], look)))


def gray(path: Path, look: PictureStyle = PLAIN) -> np.ndarray:
    return np.asarray(draw_picture(path, look).convert("L"), np.float64)


def write_image(tmp_path: Path, data: np.ndarray, **cards: object) -> Path:
    path = tmp_path / "made.fits"
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(cards)
    hdu.writeto(path, overwrite=True)
    return path


def sky(rotation: float, mirrored: bool) -> dict[str, object]:
    turn = np.radians(rotation)
    matrix = (
        1e-3
        * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        @ np.diag([1 if mirrored else -1, 1])
    )
    cards = {f"CD{i + 1}_{j + 1}": matrix[i, j] for i in (0, 1) for j in (0, 1)}
    return {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 80.0,
        "CRVAL2": 40.0,
        "CRPIX1": 50.5,
        "CRPIX2": 50.5,
        **cards,
    }


@pytest.mark.parametrize("rotation", [0, 90, 180, 270, 20])
@pytest.mark.parametrize("mirrored", [False, True])
def test_north_is_up_and_east_is_left(tmp_path, rotation, mirrored):
    from astropy.wcs import WCS

    cards = sky(rotation, mirrored)
    wcs = WCS(fits.Header(cards))
    data = np.zeros((100, 100), "f4")
    for lon, lat, value in ((80.0, 40.03, 1.0), (80.039, 40.0, 0.5)):  # north bright, east half as bright
        x, y = wcs.all_world2pix(lon, lat, 0)
        data[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] = value
    picture = gray(
        write_image(tmp_path, data, **cards), PictureStyle(size=100, axes=False, stretch="linear", percentile=(0, 100))
    )
    ys, xs = np.nonzero(picture > 200)
    assert ys.mean() < 35
    assert abs(xs.mean() - 50) < 15
    ys, xs = np.nonzero((picture > 80) & (picture < 180))
    assert xs.mean() < 35
    assert abs(ys.mean() - 50) < 15


def test_without_directions_the_first_row_is_the_lowest(tmp_path):
    data = np.zeros((40, 60))
    data[:10] = 1.0
    picture = gray(write_image(tmp_path, data))
    assert picture.shape == (133, 200)
    assert picture[-10:].min() == 255
    assert picture[:90].max() == 0


@pytest.mark.parametrize(("stretch", "middle"), [("linear", 128), ("sqrt", 180), ("log", 229), ("asinh", 197)])
def test_values_have_the_colours_of_their_stretch(tmp_path, stretch, middle):
    path = write_image(tmp_path, np.repeat(np.linspace(0.0, 10.0, 201)[None], 20, 0))
    picture = gray(path, PictureStyle(size=201, axes=False, stretch=stretch, percentile=(0, 100)))
    assert (picture[5, 0], picture[5, 200]) == (0, 255)
    assert abs(picture[5, 100] - middle) <= 2


def test_zero_is_in_the_middle_for_fields_and_what_has_no_value_is_transparent(tmp_path):
    rng = np.random.default_rng(3)
    data = rng.normal(0.0, 50.0, (64, 64))
    data[:, :16] = 0.0
    data[:, 48:] = np.nan
    picture = np.asarray(draw_picture(write_image(tmp_path, data), PictureStyle(size=64, axes=False)))
    assert abs(int(picture[30, 8, 0]) - 128) <= 1
    assert (picture[:, 50:, 3] == 0).all()
    assert (picture[:, :40, 3] == 255).all()


def test_cells_are_means_of_all_their_values():
    rng = np.random.default_rng(1)
    data = rng.random((640, 480)).astype("f4")
    data[0:16, 0:12] = np.nan
    data[16, 12] = np.inf
    array = ArrayPart(
        index=0,
        axes=tuple(Axis(name="", size=n) for n in data.shape),
        dtype=data.dtype,
        read=lambda window: data[tuple(window)],
    )
    means, whole = read_cell_means(array, 1, 0, {}, (40, 40))
    finite = np.where(np.isfinite(data), data, np.nan)
    assert whole
    assert np.allclose(means, np.nanmean(finite.reshape(40, 16, 40, 12).astype("f8"), (1, 3)), equal_nan=True)
    across, _ = read_cell_means(array, 0, 1, {}, (40, 40))
    assert np.allclose(across, means.T, equal_nan=True)


@pytest.mark.parametrize("shape", [(100_000, 100_000), (10, 10**9), (10**9, 10), (1, 10**6), (10**6, 1)])
def test_of_large_images_a_part_is_read(shape):
    read = []

    def read_window(window):
        sizes = [one.stop - one.start for one in window]
        read.append(np.prod(sizes))
        return np.ones(sizes, "f4")

    array = ArrayPart(index=0, axes=tuple(Axis(name="", size=n) for n in shape), dtype=np.dtype("f4"), read=read_window)
    means, _ = read_cell_means(array, 1, 0, {}, (200, 200))
    assert means.shape == tuple(min(200, n) for n in shape)
    assert (means == 1.0).all()
    assert sum(read) <= 30_000_000
    assert max(read) <= 8_000_000
    assert len(read) <= 4000


@pytest.mark.parametrize(
    "data",
    [np.full((30, 30), np.nan), np.full((30, 30), np.inf), np.zeros((30, 30)), np.array([[5.0]]), np.ones((1, 100_000)), np.ones((100_000, 1)),
     np.array([[np.nan, 1.0], [np.inf, -np.inf]]), np.full((5, 5), 1e308), np.arange(12, dtype=">i8").reshape(3, 4), np.zeros((2, 3, 4, 5, 6)),
     np.array([1.0]), np.arange(5.0), np.full(7, np.nan), np.ones((1, 1, 1, 50, 60))],
)  # fmt: skip
@pytest.mark.parametrize(
    "look", [PLAIN, PictureStyle(size=640), PictureStyle(size=16), PictureStyle(size=16, axes=False, plane=99)]
)
def test_odd_images_are_drawn_within_their_size(tmp_path, data, look):
    picture = draw_picture(write_image(tmp_path, data), look)
    assert max(picture.size) <= max(look.size, 250)
    assert min(picture.size) >= 1


def test_a_file_with_faults_is_refused_in_words(tmp_path):
    whole = write_image(tmp_path, np.zeros((100, 100))).read_bytes()
    for name, body in {
        "cut.fits": whole[:4000], "head.fits": whole[:1000], "empty.fits": b"", "text.fits": b"no FITS at all", "no.gz": b"\x1f\x8b\x08broken",
        "x.fits.gz": whole, "a.png": b"\x89PNG\r\n\x1a\nbroken", "a.gif": b"GIF89a", "b.jpg": b"", "film.mp4": b"\0\0\0\x18ftypmp42", "y.txt": b"words",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(body)
        if name == "x.fits.gz":  # which is not packed: what it begins with counts
            continue
        with pytest.raises(SourceError) as told:
            draw_files([(tmp_path / name, name)], PLAIN)
        assert str(tmp_path) not in str(told.value), name


def test_bombs_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "MAX_UNPACKED_BYTES", 5 << 20)
    (tmp_path / "bomb.fits.bz2").write_bytes(bz2.compress(bytes(20 << 20)))
    with pytest.raises(SourceError, match="too large"):
        draw_files([(tmp_path / "bomb.fits.bz2", "bomb.fits.bz2")], PLAIN)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    Image.new("1", (64, 64)).save(tmp_path / "bomb.png")
    with pytest.raises(SourceError, match="exceeds limit"):
        draw_files([(tmp_path / "bomb.png", "bomb.png")], PLAIN)


def test_a_spectrum_is_drawn_over_its_wavelengths(tmp_path):
    flux = np.ones(400)
    flux[300] = 5.0
    path = write_image(tmp_path, flux, CTYPE1="WAVE", CUNIT1="nm", CRVAL1=400.0, CDELT1=1.0, CRPIX1=1.0, BUNIT="Jy")
    picture = gray(path)
    dark = np.argwhere(picture < 200)
    top = dark[dark[:, 0] < 60]
    assert abs(top[:, 1].mean() / 200 - 0.75) < 0.03  # the line, at three quarters of the width
    assert "part 0 PRIMARY" in draw_picture(path, PictureStyle(size=640)).text["Description"]


def test_series_and_spectra_in_tables_are_drawn(tmp_path):
    when = np.linspace(0.0, 10.0, 1000)
    table = fits.BinTableHDU.from_columns(
        [fits.Column("TIME", "D", "d", array=when), fits.Column("RATE", "E", "ct/s", array=np.sin(when)),
         fits.Column("RATE_ERR", "E", "ct/s", array=when * 0 + 0.1), fits.Column("QUALITY", "J", array=(when > 9).astype("i4"))]
    )  # fmt: skip
    table.header["MJDREFI"], table.header["MJDREFF"] = 58000, 0.5
    table.writeto(tmp_path / "series.fits")
    told = draw_picture(tmp_path / "series.fits", PictureStyle(size=500)).text["Description"]
    assert told == "part 1 , without 100 values that QUALITY flags".replace(" ,", ",")
    wave = fits.BinTableHDU.from_columns(
        [fits.Column("WAVE", "300D", "nm", array=[np.arange(300.0)]), fits.Column("FLUX", "300E", array=[np.ones(300)])]
    )
    wave.writeto(tmp_path / "vector.fits")
    assert draw_picture(tmp_path / "vector.fits").size == (200, 133)
    fits.BinTableHDU.from_columns([fits.Column("NAME", "5A", array=["a"])]).writeto(tmp_path / "names.fits")
    with pytest.raises(SourceError, match="nothing that Hven can draw"):
        draw_files([(tmp_path / "names.fits", "names.fits")], PLAIN)


def test_the_plane_of_the_highest_valid_frequency_is_chosen(tmp_path):
    data = np.zeros((5, 20, 20))
    for plane in range(5):
        data[plane, :, plane * 4 : plane * 4 + 4] = 1.0
    path = write_image(tmp_path, data, CTYPE3="FREQ", CUNIT3="MHz", CRVAL3=150.0, CDELT3=60.0, CRPIX3=1.0)
    for look, plane in ((PLAIN, 4), (PictureStyle(size=200, axes=False, without=((390.0, 390.0),)), 3),
                        (PictureStyle(size=200, axes=False, without=((200.0, 400.0),)), 0), (PictureStyle(size=200, axes=False, plane=2), 1)):  # fmt: skip
        columns = gray(path, look)[100]
        assert np.argmax(columns) // 40 == plane
    assert (
        "plane 4 of 5 (330 MHz)"
        in draw_picture(path, PictureStyle(size=200, without=((390.0, 390.0),))).text["Description"]
    )


def test_markers_are_round():
    assert choose_ticks(0.0, 10.0, 5).positions == (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    assert choose_ticks(1e7, 3e7, 4).axis_note == "10⁷"
    assert choose_ticks(60000.0, 60000.5, 6, "time").labels[1] == "02:00"
    assert choose_ticks(60000.0, 60000.5, 6, "time").axis_note == "2023-02-25"
    for low, high in ((np.nan, 1.0), (1.0, 1.0), (0.0, 1e-300), (-1e308, 1e308), (1.0, 1.0 + 1e-15), (np.inf, 0.0)):
        assert len(choose_ticks(low, high, 5).positions) < 100


def test_colours_of_a_map_of_numbers_reach_from_the_first_to_the_last():
    made = choose_stretch(np.array([0.0, 0.0, 1.0, 7.0]), PictureStyle(), is_integer=True)
    assert (made.low, made.high, made.percentile) == (0.0, 7.0, None)


def test_why_there_is_none_is_written_in_it():
    picture = Image.open(io.BytesIO(draw_refusal_message(300, "because " * 200)))
    assert picture.size == (300, 225)
    assert np.asarray(picture).min() < 150
    assert Image.open(io.BytesIO(draw_refusal_message(16, "why"))).size == (16, 12)


def test_where_nobody_could_read_why_stands_a_neutral_sign():
    small, other = (
        Image.open(io.BytesIO(draw_refusal_message(200, why))) for why in ("request 1a2b", "something else")
    )
    assert np.array_equal(np.asarray(small), np.asarray(other))
    assert small.text["Description"] == "request 1a2b", "programs still find it"
    large, another = (
        Image.open(io.BytesIO(draw_refusal_message(400, why))) for why in ("request 1a2b", "something else")
    )
    assert not np.array_equal(np.asarray(large), np.asarray(another))


def write_png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_what_is_of_one_colour_shows_nothing():
    black = np.zeros((80, 100, 3), np.uint8)
    for level in (0, 128, 255):
        assert not has_contrast(write_png(black + np.uint8(level)))
    noise = np.random.default_rng(1).integers(0, 6, black.shape).astype(np.uint8)
    assert not has_contrast(write_png(noise)), "nobody sees that"
    disc = black.copy()
    disc[30:50, 40:60] = 200
    assert has_contrast(write_png(disc))
    assert not has_contrast(write_png(disc)[:100])
    assert not has_contrast(b"not a picture")


def test_a_film_shows_its_middle_picture_and_pictures_stand_side_by_side(tmp_path):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    picture = draw_picture(tmp_path / "a.gif")
    assert picture.convert("RGB").getpixel((20, 15)) == (0, 255, 0)
    assert picture.text["Description"] == "frame 2 of 3, 40 x 30 pixels"
    bright = tmp_path / "bright.fits"
    fits.PrimaryHDU(np.tile([0.0, 1.0], (8, 4))).writeto(bright)
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "c.png")
    body = draw_files([(bright, "bright.fits"), (tmp_path / "c.png", "c.png")], PLAIN)
    both = Image.open(io.BytesIO(body)).convert("RGB")
    assert both.size[0] <= 200
    assert both.getpixel((both.size[0] * 3 // 4, both.size[1] // 2)) == (0, 0, 255)


def film(path, frames=20, size=(64, 48), codec="mpeg4"):
    """Write a film that turns from red to blue in its middle."""
    with av.open(path, "w") as made:
        stream = made.add_stream(codec, rate=10, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for at in range(frames):
            colour = "red" if at < frames // 2 else "blue"
            made.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", size, colour))))
        made.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "mpeg4"), ("mov", "mpeg4"), ("avi", "mpeg4"), ("mkv", "mpeg4"), ("webm", "libvpx")])  # fmt: skip
def test_a_film_is_previewed_by_its_middle_picture(tmp_path, ending, codec):
    picture = draw_picture(film(tmp_path / f"a.{ending}", codec=codec))
    red, _, blue = picture.convert("RGB").getpixel((20, 15))
    assert (red < 60, blue > 200) == (True, True)
    assert picture.text["Description"].startswith("64 x 48 pixels, 1.")


def test_films_with_faults_are_refused_in_words(tmp_path, monkeypatch):
    whole = film(tmp_path / "a.mp4").read_bytes()
    at = whole.index(b"mdat")
    (tmp_path / "secret.mp4").write_bytes(whole)
    for name, body, why in (
        ("empty.mp4", b"", "is empty"),
        ("cut.mp4", whole[: len(whole) // 2], "damaged"),
        ("noise.mp4", whole[: at + 4] + bytes(len(whole) - at - 4), "damaged"),
        ("other.mp4", b"GIF89a" + bytes(100), "damaged"),
        ("list.mp4", f"ffconcat version 1.0\nfile {tmp_path}/secret.mp4\n".encode(), "damaged"),
        ("list.avi", f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/secret.mp4\n".encode(), "damaged"),
        ("sound.mkv", whole, "damaged"),
    ):
        (tmp_path / name).write_bytes(body)
        with pytest.raises(SourceError) as told:
            draw_files([(tmp_path / name, name)], PLAIN)
        assert why in str(told.value), (name, told.value)
        assert str(tmp_path) not in str(told.value)
    monkeypatch.setattr(raster_pictures, "MAX_PIXELS", 1000)
    with pytest.raises(SourceError, match="too large"):
        draw_files([(tmp_path / "a.mp4", "a.mp4")], PLAIN)
    monkeypatch.setattr(raster_pictures, "can_read_films", lambda: False)
    with pytest.raises(SourceError, match=r"cannot make stills from .* films"):
        draw_files([(tmp_path / "a.mp4", "a.mp4")], PLAIN)


REAL = [
    ("interferometry/oifits/HD140573.oifits", "VIS2 4,800 points (3,459 flagged), T3PHI 2,400 points (1,791 flagged)"),
    ("interferometry/oifits/T_PYX_oiDataCalib.fits", "VIS2 96 points"),
    ("radio/ecallisto/BIR_20110607_062400_10.fit", "each channel less its median"),
    ("helio/images/aia_171_level1.fits", "sun171"),
    ("helio/images/resampled_hmi.fits", "turned so that north is up"),
    ("helio/timeseries/go1520110607.fits", "part 2 FLUXES"),
    ("images/hlsp_tess-data-alerts_tess_phot_00025155310-s01_tess_v1_lc.fits", "values that QUALITY flags"),
    ("images/spectrum_Vega.fits", "part 0 PRIMARY"),
    ("images/allsky_rosat.fits", "part 0 PRIMARY"),
    ("images/l1448_13co.fits", "mean of 16 of 53 planes"),
    ("helio/sharp/hmi.sharp_cea_720s.377.20110215_020000_TAI.magnetogram.fits", "part 1 COMPRESSED_IMAGE"),
    ("helio/images/2013_06_24__17_31_30_84__SDO_AIA_AIA_193.jp2", "pixels"),
]


@pytest.mark.parametrize(("name", "words"), REAL)
def test_pictures_of_real_files_are_drawn(name, words):
    if "/oifits/" in name:
        require_plugins("media", "oifits")
    path = shared(f"data/{name}")
    assert words in draw_picture(path, PictureStyle(size=640)).text["Description"]
    assert max(draw_picture(path).size) == 200


def test_the_transfer_function_is_what_is_measured_over_that_of_a_disc(tmp_path):
    require_plugins("media", "oifits")
    radians = np.pi * np.radians(1 / 3.6e6) * 1e6
    known = _compute_disc_visibility(np.array([0.0, 1.0, 3.8317059702]) / radians, 1.0)
    assert np.allclose(known, [1.0, (2 * 0.4400505857449335) ** 2, 0.0], atol=1e-9)  # J1(1), and its first zero
    path = shared("data/interferometry/oifits/2012-03-24_ALL_oiDataCalib.fits")
    if path.exists():

        def read_description(**look: object) -> str:
            body = draw_files([(path, path.name)], PictureStyle(size=500, show="transfer", **look))
            return Image.open(io.BytesIO(body)).text["Description"]

        assert "180 measurements of 6 pairs" in read_description(diameters=(1.0,))
        assert read_description(stars=("hd 33802", "HD77450"), diameters=(0.4,)) == (
            "transfer function: 18 measurements of 6 pairs of telescopes; HD33802 0.4 mas, HD_77450 as a point"
        )
        with pytest.raises(SourceError, match="the files contain none of the requested stars: Vega"):
            read_description(stars=("Vega",))
    other = write_image(tmp_path, np.zeros((4, 4)))
    with pytest.raises(SourceError, match="not an OIFITS file"):
        draw_files([(other, "made.fits")], PictureStyle(show="transfer"))


def test_a_night_of_calibrators_gives_its_known_transfer_function(tmp_path):
    """Two stars of known diameters seen in turn through an atmosphere of another kind for each pair; of what the file calls science nothing is taken."""
    require_plugins("media", "oifits")
    waves, moments = np.array([1.6e-6, 1.7e-6]), 57_000.0 + np.arange(6) / 24
    stations = {1: "A1", 2: "G1", 3: "K0"}
    lost = {(1, 2): 0.8, (1, 3): 0.6, (2, 3): 0.5}
    sizes = {1: 0.7, 2: 1.3, 3: 5.0}
    rows = []
    for turn, moment in enumerate(moments):
        target = turn % 3 + 1
        for at, (pair, rest) in enumerate(lost.items()):
            x = 60.0 * (at + 1) / waves / 1e6
            value = rest * _compute_disc_visibility(x, sizes[target])
            rows.append((target, moment, value, 0.02 * value, 60.0 * (at + 1), 0.0, pair, [False, turn == 1]))
    names = ("TARGET_ID", "MJD", "VIS2DATA", "VIS2ERR", "UCOORD", "VCOORD", "STA_INDEX", "FLAG")
    kinds = ("I", "D", "2D", "2D", "D", "D", "2I", "2L")
    columns = [fits.Column(name, kind, array=np.array(each)) for name, kind, each in zip(names, kinds, zip(*rows, strict=True), strict=True)]  # fmt: skip
    vis = fits.BinTableHDU.from_columns(columns, name="OI_VIS2")
    wave = fits.BinTableHDU.from_columns([fits.Column("EFF_WAVE", "E", array=waves), fits.Column("EFF_BAND", "E", array=waves / 9)], name="OI_WAVELENGTH")  # fmt: skip
    array = fits.BinTableHDU.from_columns([fits.Column("STA_INDEX", "I", array=[*stations]), fits.Column("STA_NAME", "16A", array=[*stations.values()])], name="OI_ARRAY")  # fmt: skip
    targets = [fits.Column("TARGET_ID", "I", array=[*sizes]), fits.Column("TARGET", "16A", array=["one", "two", "far"]), fits.Column("CATEGORY", "3A", array=["CAL", "CAL", "SCI"])]  # fmt: skip
    for one in (vis, wave):
        one.header["INSNAME"] = "I"
    for one in (vis, array):
        one.header["ARRNAME"] = "A"
    path = tmp_path / "night.oifits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(targets, name="OI_TARGET"), wave, array, vis]).writeto(path)  # fmt: skip
    with open_product(path) as product:
        found = read_calibrators(product, iter((0.7, 1.3)), {})
    assert [(one.name, one.diameter, one.telescope_pairs) for one in found] == [("one", 0.7, ("A1-G1", "A1-K0", "G1-K0") * 2), ("two", 1.3, ("A1-G1", "A1-K0", "G1-K0") * 2)]  # fmt: skip
    for one in found:
        assert one.values[2] == pytest.approx([0.8, 0.6, 0.5] * 2)
        assert one.values[1] == pytest.approx(0.02 * one.values[0])
    body = Image.open(
        io.BytesIO(
            draw_files([(path, path.name)], PictureStyle(show="transfer", stars=("two", "one"), diameters=(1.3, 0.7)))
        )
    )
    assert "12 measurements of 3 pairs" in body.text["Description"]
    assert len(body.getcolors(1 << 20)) > 20
    assert Image.open(io.BytesIO(draw_files([(path, path.name)], PictureStyle(show="transfer", size=200, axes=False)))).size == (200, 133)  # fmt: skip


def test_letters_that_a_machine_has_not_are_written_by_others(monkeypatch):
    there = ImageFont.truetype

    def missing(name: object, *more: object, **named: object) -> object:
        if isinstance(name, str):
            raise OSError
        return there(name, *more, **named)  # which Pillow brings along

    monkeypatch.setattr(ImageFont, "truetype", missing)
    sheets.load_font.cache_clear()
    try:
        said = sheets.replace_missing_glyphs(
            "déclinaison (°) · 0.5 \N{EN DASH} 3 µm, Å, Mλ, (10⁻⁷) \N{MINUS SIGN}5 \n太"
        )
        assert said == "declinaison (deg) | 0.5 - 3 um, A, Mlambda, (10^-7) -5 ?"
        assert Image.open(io.BytesIO(draw_refusal_message(300, "because é"))).size == (300, 225)
    finally:
        sheets.load_font.cache_clear()


def test_a_file_of_thousands_of_parts_is_previewed(tmp_path):
    one = fits.HDUList([fits.PrimaryHDU(np.eye(20)), fits.ImageHDU(np.zeros((2, 2)))])
    one.writeto(tmp_path / "one.fits")
    body = (tmp_path / "one.fits").read_bytes()
    (tmp_path / "many.fits").write_bytes(body[:-5760] + body[-5760:] * 3000)
    begun = time.perf_counter()
    assert draw_picture(tmp_path / "many.fits").size == (200, 200)
    assert time.perf_counter() - begun < 20  # of a thousand that are looked at
