"""Writes made-up rows in PSUP's forms: psup.sql, a dump of the table of OMEGA cubes, and one STAC item for each OMEGA map."""

import json
import random
from datetime import datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parent
rng = random.Random(2004)

COLUMNS = {
    "name": "text PRIMARY KEY", "orbit_number": "integer", "cube_number": "integer", "ut_start": "timestamp", "ut_stop": "timestamp",
    "data_quality": "smallint", "pointing_mode": "text", "lon_min": "double precision", "lon_max": "double precision", "lat_min": "double precision",
    "lat_max": "double precision", "altitude_min": "double precision", "altitude_max": "double precision", "incidence_min": "double precision",
    "incidence_max": "double precision", "emergence_min": "double precision", "emergence_max": "double precision", "ltst_min": "double precision",
    "ltst_max": "double precision", "distance_min": "double precision", "distance_max": "double precision", "lambda_min": "double precision",
    "lambda_max": "double precision", "watericelin": "double precision", "icecloudsindex": "double precision", "sav_file": "text",
    "sav_bytes": "bigint", "nc_file": "text", "nc_bytes": "bigint",
}  # fmt: skip


def cube(number: int) -> list[object]:
    orbit, count = 18 + 97 * (number // 3), number % 3
    start = datetime(2004, 1, 14) + timedelta(hours=7.6 * (orbit - 18), minutes=11 * count)
    west, south = {4: (-3.25, 10.5), 7: (176.5, -42.0)}.get(number, (rng.uniform(-170, 160), rng.uniform(-70, 60)))
    east = west + rng.uniform(4, 9)  # PSUP counts from -180 to 180: a cube may cross either seam
    low, sun, seen, hour, far = (rng.uniform(*each) for each in ((-5000, 8000), (5, 60), (0, 5), (8, 16), (3e5, 4e6)))
    name = f"{orbit:04d}_{count}"
    no_nc, no_ice = number in {5, 16}, number % 4 == 1
    return [
        name, orbit, count, start.isoformat(), (start + timedelta(seconds=rng.randint(90, 600))).isoformat(), rng.randint(1, 3),
        rng.choice(["NADIR", "INERT"]), west, east - 360 if east > 180 else east, south, south + rng.uniform(2, 20), low, low + rng.uniform(100, 3000),
        sun, sun + 8, seen, seen + 3, hour, hour + 0.4, far, far * 1.1, 0.3643999993801117, 5.088980197906494,
        None if no_ice else rng.uniform(0.97, 1.0), None if no_ice else rng.uniform(0.6, 1.0), f"{name}.sav", rng.randint(9, 60) * 1048576,
        None if no_nc else f"{name}.nc", None if no_nc else rng.randint(9, 60) * 1048576,
    ]  # fmt: skip


def format_value(value: object) -> str:
    return r"\N" if value is None else str(value)


lines = [
    "CREATE TABLE omega_cubes (" + ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items()) + ");",
    "COPY omega_cubes FROM stdin;",
]
lines += ["\t".join(map(format_value, cube(number))) for number in range(24)]
(HERE / "psup.sql").write_text("\n".join([*lines, r"\.", ""]))

MAPS = {
    "albedo": "Albedo",
    "ferric-bd530": "Ferric iron, depth of the band at 530 nm",
    "olivine-osp1": "Olivine, index 1",
    "pyroxene-bd2000": "Pyroxene",
}
HOME = "https://psup.example.org/omega"
for name, title in MAPS.items():
    item = {
        "type": "Feature", "stac_version": "1.1.0", "id": f"{name}-map", "collection": "omega_mineral_maps", "bbox": [-180.0, -90.0, 180.0, 90.0],
        "geometry": {"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]},
        "properties": {
            "description": f"OMEGA {title}", "keywords": [name.partition("-")[0], "global"], "ssys:targets": ["mars"], "ssys:target_class": "planet",
            "platform": "mex", "instruments": ["omega"], "gsd": 5000, "datetime": "2014-07-10T00:00:00Z",
            "sci:publications": [{"doi": "10.1016/j.icarus.2014.10.029"}],
        },
        "assets": {
            "sav": {"href": f"{HOME}/sav/{name}.sav", "type": "application/octet-stream", "size": rng.randint(40, 900) * 1048576},
            "nc": {"href": f"{HOME}/nc/{name}.nc", "type": "application/netcdf", "size": rng.randint(40, 900) * 1048576},
            "thumbnail": {"href": f"{HOME}/png/{name}_reduce.png", "type": "image/png"},
        },
    }  # fmt: skip
    target = HERE / "collections" / "omega_maps" / "data" / f"{name}-map.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(item, indent=1))
