"""Writes made-up days of the Nancay radioheliograph as Elasticsearch exports them: hits, each with several quick-looks; and these as pictures."""

import json
import random
import struct
import zlib
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

rng = random.Random(1996)
BANDS = [150.9, 173.2, 228.0, 270.6, 298.7, 327.0, 408.0, 432.0, 445.0]
target = Path(__file__).parent / "collections" / "nrh" / "data"


def draw_sun(mhz: float, turn: float) -> np.ndarray:
    """Draw the corona at a frequency, the lower the wider, with a storm where the Sun's rotation took it."""
    y, x = np.mgrid[:128, :128] - 63.5
    corona = np.exp(-((x**2 + y**2) / (30 + 4000 / mhz) ** 2))
    storm = np.exp(-((x - 40 * np.sin(turn)) ** 2 + (y + 12) ** 2) / (20 + 3000 / mhz))
    return np.clip(200 * corona + 55 * storm * (np.cos(turn) > 0), 0, 255).astype("u1")


def write_png(path: Path, pixels: np.ndarray) -> int:
    """Write a grey picture, and give its size in bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = np.hstack([np.zeros((height, 1), "u1"), pixels]).tobytes()
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines, 9)), chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


hits = []
for number in range(40):
    day = datetime(2011, 6, 1) + timedelta(days=number)
    frequencies = sorted(rng.sample(BANDS, rng.randint(4, 9)))
    noisy = frequencies if number == 12 else rng.sample(frequencies, rng.choice([0, 0, 1, 2]))
    start = day + timedelta(hours=8, seconds=rng.randint(0, 3600))
    stop = day + timedelta(hours=15, seconds=rng.randint(0, 1800))
    looks = [
        {"freq": each, "file": f"nrh_{day:%Y%m%d}_{each * 10:04.0f}.png"}
        for each in frequencies
        if number != 20  # a day that was not drawn
    ]
    for look in looks:
        pixels = draw_sun(look["freq"], 0.23 * number)
        if look["freq"] in noisy:
            pixels[::4] = 255  # interference
        look["bytes"] = write_png(target / "looks" / look["file"], pixels)
    source = {
        "date_obs": start.isoformat(timespec="milliseconds") + "Z", "date_end": stop.isoformat(timespec="milliseconds") + "Z", "year": day.year,
        "cadence": 10.0, "frequencies": frequencies, "noisy": sorted(noisy), "quicklooks": looks, "processing": {"software": "nrh2", "level": 2},
    }  # fmt: skip
    hits.append(
        {"_index": "nrh-daily", "_id": f"nrh_{day:%Y%m%d}", "_score": None, "_source": source, "sort": [number]}
    )
export = {
    "took": 12,
    "timed_out": False,
    "hits": {"total": {"value": len(hits), "relation": "eq"}, "max_score": None, "hits": hits},
}
write_png(target / "looks" / "no-preview.png", np.full((128, 128), 96, "u1"))
(target / "nrh-daily.json").write_text(json.dumps(export, indent=1))
