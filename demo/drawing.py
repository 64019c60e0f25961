"""Pictures that the demo draws of its own data: views of a body straight from above, charts of the sky, the way of the Earth's pole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

SIZE = 200  # pixels of a picture
TWICE = 2 * SIZE  # charts are drawn larger, and made small: no stairs
NIGHT, WARM, RING = (11, 15, 32), (255, 190, 90), (255, 255, 255)
# colours of stars by B-V, of black bodies of the same colour, a little stronger
COLOURS = ((-0.35, (155, 180, 255)), (0.0, (202, 216, 255)), (0.4, (248, 247, 255)), (0.8, (255, 236, 205)), (1.3, (255, 204, 140)), (2.0, (255, 165, 95)))  # fmt: skip
VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


class Body:
    """The map of a body, from 0 to 360 degrees east, looked at in parts."""

    def __init__(self, path: Path) -> None:
        with Image.open(path) as picture:
            grey = ImageOps.autocontrast(picture, cutoff=0.3) if picture.mode == "L" else picture
            self.pixels = np.asarray(grey.convert("RGB"))
        across = (np.arange(SIZE) + 0.5) * 2 / SIZE - 1
        self.x, self.y = np.meshgrid(across, -across)

    def view(self, lon: float, lat: float, half: float) -> Image.Image:
        """Look straight down on a place: `half` degrees of the ground from the middle to the edge."""
        wide = np.sin(np.radians(min(half, 44.0)))  # corners stay on this side
        return Image.fromarray(self._project_disc(lon, lat, self.x * wide, self.y * wide))

    def globe(self, lon: float, lat: float) -> Image.Image:
        """Look at the body from far away, in the light of a Sun at the left."""
        x, y = self.x * 1.06, self.y * 1.06
        z = np.sqrt(np.maximum(1.0 - x * x - y * y, 0.0))
        light = np.clip(0.25 + 0.95 * np.maximum(-0.45 * x + 0.2 * y + 0.87 * z, 0.0), 0, 1) * np.clip(
            z * SIZE / 8, 0, 1
        )
        shaded = (
            self._project_disc(lon, lat, x, y) * light[..., None]
            + np.array(NIGHT) * (1 - np.clip(z * SIZE / 8, 0, 1))[..., None]
        )
        return Image.fromarray(shaded.astype(np.uint8))

    def _project_disc(self, lon: float, lat: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        z = np.sqrt(np.maximum(1.0 - x * x - y * y, 0.0))
        sin, cos = np.sin(np.radians(lat)), np.cos(np.radians(lat))
        high, wide = self.pixels.shape[:2]
        rows = (0.5 - np.arcsin(np.clip(z * sin + y * cos, -1, 1)) / np.pi) * high - 0.5
        columns = (np.radians(lon) + np.arctan2(x, z * cos - y * sin)) / (2 * np.pi) * wide - 0.5
        top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
        down, right = (rows - top)[..., None], (columns - left)[..., None]

        def sample_pixels(row: np.ndarray, column: np.ndarray) -> np.ndarray:
            return self.pixels[np.clip(row, 0, high - 1), column % wide]

        above = sample_pixels(top, left) * (1 - right) + sample_pixels(top, left + 1) * right
        below = sample_pixels(top + 1, left) * (1 - right) + sample_pixels(top + 1, left + 1) * right
        return (above * (1 - down) + below * down).astype(np.uint8)


def draw_ring(picture: Image.Image, share: float) -> Image.Image:
    """Draw a ring round the middle: `share` of the way to the edge."""
    middle, far = SIZE / 2, max(share, 0.04) * SIZE / 2
    ImageDraw.Draw(picture).ellipse((middle - far, middle - far, middle + far, middle + far), outline=RING)
    return picture


class Sky:
    """Stars, brightest first: positions in degrees, magnitudes, colours B-V."""

    def __init__(self, ra: np.ndarray, dec: np.ndarray, vmag: np.ndarray, b_v: np.ndarray) -> None:
        order = np.argsort(vmag)
        self.ra, self.dec, self.vmag = np.radians(ra[order]), np.radians(dec[order]), vmag[order]
        points = np.array([one for one, _ in COLOURS])
        shades = np.array([one for _, one in COLOURS])
        self.shade = np.stack(
            [np.interp(np.nan_to_num(b_v[order], nan=0.5), points, shades[:, at]) for at in range(3)], axis=1
        )

    def chart(
        self, ra: float, dec: float, half: float, ellipse: tuple[float, float, float] | None = None
    ) -> Image.Image:
        """Draw the sky round a place, north up and east to the left; `ellipse` with its axes in degrees and the angle of the larger one."""
        picture = Image.new("RGB", (TWICE, TWICE), NIGHT)
        pen = ImageDraw.Draw(picture)
        lon, lat, scale = np.radians(ra), np.radians(dec), TWICE / 2 / np.tan(np.radians(half))
        near = np.sin(lat) * np.sin(self.dec) + np.cos(lat) * np.cos(self.dec) * np.cos(self.ra - lon)
        (seen,) = np.nonzero(near > np.cos(np.radians(1.45 * half)))
        x = TWICE / 2 - scale * np.cos(self.dec[seen]) * np.sin(self.ra[seen] - lon) / near[seen]
        y = (
            TWICE / 2
            - scale
            * (
                np.cos(lat) * np.sin(self.dec[seen])
                - np.sin(lat) * np.cos(self.dec[seen]) * np.cos(self.ra[seen] - lon)
            )
            / near[seen]
        )
        faintest = min(9.0, 10.9 - 0.95 * np.log2(max(half, 1.0)))  # fewer where there is more sky
        for at, across, down in zip(seen, x, y, strict=True):
            if self.vmag[at] > faintest:
                break
            size = 0.9 + 0.75 * (faintest - self.vmag[at]) ** 1.1
            pen.ellipse(
                (across - size, down - size, across + size, down + size), fill=tuple(int(one) for one in self.shade[at])
            )
        if ellipse is not None:
            _draw_outline(picture, *(scale * np.tan(np.radians(one / 2)) for one in ellipse[:2]), ellipse[2])
        glow = picture.reduce(4).filter(ImageFilter.GaussianBlur(2.5)).resize(picture.size)
        return ImageChops.lighter(
            picture, ImageChops.add(picture, ImageChops.subtract(glow, Image.new("RGB", picture.size, NIGHT)))
        ).resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def _draw_outline(picture: Image.Image, major: float, minor: float, angle: float) -> None:
    """Draw how far an object reaches."""
    turn = np.radians(np.arange(0, 361, 3))
    along, aside = max(major, 14.0) * np.cos(turn), max(minor, 14.0) * np.sin(turn)
    sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))  # from north to east, which is at the left
    x, y = TWICE / 2 - along * sin - aside * cos, TWICE / 2 - along * cos + aside * sin
    ImageDraw.Draw(picture).line(list(zip(x, y, strict=True)), fill=WARM, width=3)


def wandering(x: np.ndarray, y: np.ndarray) -> Image.Image:
    """Draw a way, from dark to bright as time goes on."""
    picture = Image.new("RGB", (TWICE, TWICE), NIGHT)
    pen = ImageDraw.Draw(picture)
    middle = ((x.min() + x.max()) / 2, (y.min() + y.max()) / 2)
    scale = 0.9 * TWICE / max(np.ptp(x), np.ptp(y))
    places = np.stack([TWICE / 2 + scale * (x - middle[0]), TWICE / 2 + scale * (y - middle[1])], axis=1)
    shades = np.array(VIRIDIS, float)
    for at in range(0, len(places) - 8, 8):
        share = at / len(places) * (len(shades) - 1)
        shade = shades[int(share)] + (shades[int(share) + 1] - shades[int(share)]) * (share % 1)
        pen.line([tuple(one) for one in places[at : at + 9]], fill=tuple(int(one) for one in shade), width=2)
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
