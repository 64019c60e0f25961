"""Writes made-up days of the Nancay radioheliograph as Elasticsearch exports them: hits, each with several quick-looks."""

import json
import random
from datetime import datetime, timedelta
from pathlib import Path

rng = random.Random(1996)
BANDS = [150.9, 173.2, 228.0, 270.6, 298.7, 327.0, 408.0, 432.0, 445.0]
hits = []
for number in range(40):
    day = datetime(2011, 6, 1) + timedelta(days=number)
    frequencies = sorted(rng.sample(BANDS, rng.randint(4, 9)))
    noisy = frequencies if number == 12 else rng.sample(frequencies, rng.choice([0, 0, 1, 2]))
    start = day + timedelta(hours=8, seconds=rng.randint(0, 3600))
    stop = day + timedelta(hours=15, seconds=rng.randint(0, 1800))
    looks = [
        {"freq": each, "file": f"nrh_{day:%Y%m%d}_{each * 10:04.0f}.png", "bytes": rng.randint(20_000, 90_000)}
        for each in frequencies
    ]
    if number == 20:
        looks = []  # a day that was not drawn
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
target = Path(__file__).parent / "collections" / "nrh" / "data"
target.mkdir(exist_ok=True)
(target / "nrh-daily.json").write_text(json.dumps(export, indent=1))
