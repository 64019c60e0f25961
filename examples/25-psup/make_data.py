"""Makes up maps of Mars under the names of Mars Visu's layers, and catalogues in the form of PSUP's, with a fixed seed.

The large landforms are where they are on Mars, so that names fit; all else is noise.
"""

import csv
import json
from pathlib import Path

import numpy as np
import rasterio
from astropy import units
from astropy.table import Table
from rasterio.transform import from_bounds

rng = np.random.default_rng(2503)
root = Path(__file__).parent / "collections"
WIDTH, HEIGHT = 1440, 720  # pixels of most maps
RADIUS_KM = 3396.19
VOLCANOES = {  # longitude, latitude, radius in degrees, height in metres
    "Olympus Mons": (226.2, 18.65, 5.2, 21000), "Ascraeus Mons": (255.9, 11.92, 3.9, 12000), "Pavonis Mons": (247.2, 0.8, 3.3, 9000),
    "Arsia Mons": (239.9, -8.26, 4.2, 11000), "Alba Mons": (250, 40.5, 11, 4500), "Elysium Mons": (147.2, 25.02, 4.5, 11500), "Tharsis": (248, 0, 33, 5500),
}  # fmt: skip
BASINS = {"Hellas": (70.5, -42.4, 19, -7500), "Argyre": (317.6, -49.8, 8.5, -4500), "Isidis": (88.4, 13.9, 9.5, -3500), "Utopia": (117.5, 46.7, 24, -2000)}  # fmt: skip
MINERALS = ["Fe/Mg phyllosilicates", "Al phyllosilicates", "sulphates", "zeolites", "hydrated silica", "chlorides"]


def direction(lon: np.ndarray | float, lat: np.ndarray | float) -> np.ndarray:
    """Return unit vectors."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat) + 0 * lon], axis=-1)


LON, LAT = np.meshgrid(-180 + (np.arange(WIDTH) + 0.5) * 360 / WIDTH, 90 - (np.arange(HEIGHT) + 0.5) * 180 / HEIGHT)
POINTS = direction(LON, LAT)


def noise(lowest: float, highest: float, count: int, points: np.ndarray = POINTS) -> np.ndarray:
    """Return noise without a seam, with deviation 1: waves in space, the longer ones stronger."""
    x, y, z = (np.ascontiguousarray(points[..., axis], "float32") for axis in range(3))
    total = np.zeros(x.shape, "float32")
    for frequency in np.geomspace(lowest, highest, count):
        wave = rng.normal(size=3)
        wave *= frequency / np.linalg.norm(wave)
        wave_x, wave_y, wave_z, phase = np.float32([*wave, rng.uniform(0, 7)]) / np.float32(2 * np.pi)
        turns = x * wave_x + y * wave_y + z * wave_z + phase
        turns -= np.floor(turns + np.float32(0.5))
        # a parabola for each half of a wave: unlike a sine, it is the same on all processors
        total += turns * (np.float32(0.5) - np.abs(turns)) * np.float32(16 / frequency**0.8)
    return (total - total.mean(dtype="float64")) / total.std(dtype="float64")


def distance(lon: float, lat: float) -> np.ndarray:
    """Return the distance of each pixel from a place, in degrees."""
    return np.degrees(np.arccos(np.clip(POINTS @ direction(lon, lat), -1, 1)))


def make_craters(count: int) -> list[dict[str, float]]:
    """Make up craters, fewer in the young north."""
    craters = []
    while len(craters) < count:
        lon, lat = rng.uniform(0, 360), float(np.degrees(np.arcsin(rng.uniform(-1, 1))))
        if lat > 15 and rng.random() < 0.7:
            continue
        diameter = float(min(14 * rng.pareto(1.6) + 14, 420))
        craters.append({"lon": round(lon, 3), "lat": round(lat, 3), "diameter": round(diameter, 1)})
    return sorted(craters, key=lambda crater: -crater["diameter"])


def make_elevation(craters: list[dict[str, float]]) -> np.ndarray:
    """Make up elevations: low north, volcanoes, basins, one large canyon, craters, noise."""
    north = np.tanh(3.5 * (POINTS[..., 2] - 0.18 + 0.16 * noise(1.5, 6, 24)))
    ground = -800 - 2300 * north + 420 * noise(4, 120, 120)
    for lon, lat, radius, height in VOLCANOES.values():
        away = distance(lon, lat) / radius
        ground += height * np.exp(-1.6 * away**1.5) - 0.12 * height * (away < 0.12)
    for lon, lat, radius, depth in BASINS.values():
        away = distance(lon, lat) / radius
        ground += depth / (1 + away**8) + 900 * np.exp(-(((away - 1.08) / 0.13) ** 2))
    canyon = -10 - 4 * np.sin((LON + 60) / 14) + 1.2 * noise(20, 60, 30)
    inside = np.clip((LON + 105) / 8, 0, 1) * np.clip((-32 - LON) / 14, 0, 1)
    ground -= 6200 * inside * np.exp(-(((LAT - canyon) / 2.4) ** 2))
    for crater in craters:
        radius = crater["diameter"] / 2 / RADIUS_KM * 57.3
        rows = np.abs(LAT[:, 0] - crater["lat"]) < 2.5 * radius + 0.3
        cosines = POINTS[rows] @ direction(crater["lon"], crater["lat"])
        away = np.degrees(np.arccos(np.clip(cosines, -1, 1))) / max(radius, 0.3)
        depth = 180 * crater["diameter"] ** 0.42
        ground[rows] += np.where(
            away < 1, depth * (away**2 - 0.75), 0.25 * depth * np.exp(-3 * (away - 1)) * (away < 2.5)
        )
    return ground + 1500 * np.exp(-(((90 - np.abs(LAT)) / 8) ** 2))


def write(
    name: str,
    values: np.ndarray,
    frame: str = "IAU_2015:49900",
    box: tuple[float, ...] = (-180, -90, 180, 90),
    decimals: int = 4,
) -> None:
    """Write a GeoTIFF with tiles and overviews.

    The last digits of a sine differ from processor to processor; rounded values, and so the files, are equal.
    """
    if values.dtype == np.float64:
        values = np.round(values, decimals).astype("float32")
    bands = values if values.ndim == 3 else values[None]
    transform = from_bounds(*box, bands.shape[2], bands.shape[1])
    options = {} if bands.dtype == "uint8" else {"nodata": -9999, "predictor": 3}
    with rasterio.open(
        root / f"psup/data/{name}.tif", "w", driver="GTiff", width=bands.shape[2], height=bands.shape[1], count=len(bands), dtype=bands.dtype, crs=frame,
        transform=transform, tiled=True, blockxsize=256, blockysize=256, compress="deflate", **options,
    ) as file:  # fmt: skip
        file.write(bands)
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)


def write_maps(craters: list[dict[str, float]]) -> None:
    """Write the maps."""
    ground = make_elevation(craters)
    write("mola", ground, decimals=0)
    bright = noise(2, 40, 60) + 0.5 * noise(1.2, 4, 12)
    albedo = np.clip(0.24 + 0.075 * np.tanh(1.3 * bright) + 0.012 * noise(30, 200, 40), 0.06, 0.44)
    cap = np.clip(((np.abs(LAT) - 80 + 2.5 * noise(8, 40, 30)) / 2.5), 0, 1) * np.where(
        LAT > 0, 1, np.clip((-LAT - 82) / 2, 0, 1)
    )
    albedo = albedo * (1 - cap) + 0.44 * cap
    write("albedo", albedo)
    # the ground is redder where it is bright
    write("reflectance", np.stack([albedo[::2, ::2] * (1 + slope * albedo[::2, ::2]) for slope in (0.0, 0.25, 0.4)]))
    # shades by a sun in the west, 30 degrees above the horizon
    metres = np.pi / HEIGHT * RADIUS_KM * 1000
    slope_x = np.gradient(ground, axis=1) / (metres * np.maximum(np.cos(np.radians(LAT)), 0.05))
    slope_y = -np.gradient(ground, axis=0) / metres
    shade = (
        np.clip(0.5 + 0.87 * 14 * slope_x - 0.35 * 14 * slope_y, 0, 1.25)
        / np.sqrt(1 + (9 * slope_x) ** 2 + (9 * slope_y) ** 2)
        + 0.35
    )
    tint = np.array([300, 190, 128])[:, None, None] * (1 - cap) + np.array([262, 258, 250])[:, None, None] * cap
    write("viking", np.clip(tint * (albedo / 0.36) ** 0.7 * shade * 0.92, 0, 255).astype("uint8"))

    old = 1 / (1 + np.exp(ground / -900))  # where the ground is high and old
    gaps = noise(60, 200, 30) > 2.1  # what was never observed
    for name, low, high, weight in (
        ("ferric_bd530", 0.0, 0.1, bright), ("ferric_nnphs", 0.94, 1.05, bright), ("olivine_osp1", 1.0, 1.12, -bright), ("olivine_osp2", 1.0, 1.12, -bright),
        ("olivine_osp3", 1.0, 1.12, old), ("pyroxene_bd2000", 0.0, 0.08, -bright), ("albedo_r1080", 0.08, 0.5, 2 * bright), ("emissivity_5mic", 0.85, 1.0, -bright),
    ):  # fmt: skip
        whole = name in {"albedo_r1080", "emissivity_5mic", "ferric_nnphs"}
        strength = 0.8 * weight + 0.7 * noise(5, 120, 60) - (0 if whole else 1.1)
        values = low + (high - low) / (1 + np.exp(-1.6 * strength))
        write(name, np.where(gaps | (np.abs(LAT) > 84), -9999, values))
    write_frost()


def write_frost() -> None:
    """Write the frost of the south in four seasons, seen from above the pole."""
    side, half = 600, 2 * RADIUS_KM * 1000 * np.tan(np.radians(15))
    x, y = np.meshgrid(*[(np.arange(side) + 0.5) / side * 2 * half - half] * 2)
    away = np.degrees(2 * np.arctan(np.hypot(x, y) / (2 * RADIUS_KM * 1000)))
    points = direction(np.degrees(np.arctan2(x, -y)), away - 90)
    edge = 1.4 * noise(4, 40, 40, points)
    for number, reach in enumerate((6.0, 12.0, 25.0, 17.0), 1):
        values = np.where(away < reach + edge, np.clip(0.1 * (reach + edge - away), 0, 1.2), -9999)
        write(f"frost_{number}", values, "IAU_2015:49935", (-half, -half, half, half))


def write_sites() -> None:
    """Write the outlines of hydrated sites, and a spectrum for each."""
    spectra = root / "hydrated/data/spectra"
    spectra.mkdir(parents=True, exist_ok=True)
    features = []
    centres = np.array([(342, 22), (77, 21), (300, -12), (138, -5), (326, -25), (57, -14), (0, -1)])
    wavelengths = np.round(np.arange(1.0, 2.6, 0.02), 2)
    for number in range(1, 401):
        lon, lat = (
            centres[rng.integers(len(centres))] + rng.normal(0, 6, 2)
            if number % 4
            else (rng.uniform(-180, 180), rng.uniform(-60, 40))
        )
        lon = float((lon + 180) % 360 - 180)
        size = float(rng.lognormal(-0.6, 0.6))
        turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(7, 14)))
        reach = size * rng.uniform(0.55, 1, len(turns))
        ring = [
            [
                round(float(np.clip(lon + r * np.cos(t) / np.cos(np.radians(lat)), -179.9, 179.9)), 4),
                round(float(lat + r * np.sin(t)), 4),
            ]
            for t, r in zip(turns, reach, strict=True)
        ]
        mineral = int(rng.integers(len(MINERALS)))
        x, y = np.array(ring).T
        features.append({
            "type": "Feature", "id": number, "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, "bbox": [x.min(), y.min(), x.max(), y.max()],
            "properties": {"mineral": MINERALS[mineral], "name": f"Site {number}"},
        })  # fmt: skip
        band = 1.9 + 0.08 * mineral
        reflectance = (
            0.25
            + 0.02 * wavelengths
            - 0.06 * np.exp(-(((wavelengths - band) / 0.05) ** 2))
            + rng.normal(0, 0.002, len(wavelengths))
        )
        columns = {"wavelength": wavelengths * units.um, "reflectance": np.round(reflectance, 4)}
        spectrum = Table(columns, meta={"OBJECT": f"Site {number}", "TELESCOP": "Made up"})
        spectrum.write(spectra / f"site_{number}.fits", overwrite=True)
    (root / "hydrated/data/sites.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def main() -> None:
    """Write the maps and the catalogues."""
    for name in ("psup", "hydrated", "craters"):
        (root / name / "data").mkdir(parents=True, exist_ok=True)
    craters = make_craters(900)
    with (root / "craters/data/craters.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["number", "lon", "lat", "diameter"])
        writer.writeheader()
        writer.writerows({"number": number, **crater} for number, crater in enumerate(craters, 1))
    write_maps(craters)
    write_sites()


if __name__ == "__main__":
    main()
