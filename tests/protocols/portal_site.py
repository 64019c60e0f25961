"""A site with news, help pages and two portals, for tests of pages."""

from __future__ import annotations

import json
from pathlib import Path

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site

HOSTILE_TEXT = "<script>alert('x')</script><img src=x onerror=alert(1)>\" onmouseover=\"alert(2) </style></title>]]>"
SETTINGS = f"""\
title = "Uraniborg"
description = "Images and spectra of a made-up observatory"
contact_email = "vo@uraniborg.example"
credit = {json.dumps("Thanks to " + HOSTILE_TEXT)}
accent = "#ffe000"
logo = "logo.svg"

[tree]
levels = ["mission|@facility", "instrument", "@collection"]

[portals.sunny]
path = "/sunny"
title = "Sunny side"
collections = ["images"]
levels = ["instrument"]
accent = "#102030"
news = "sunny-news"
text = "sunny.md"

[portals.stars]
host = "stars.example"
collections = ["stars"]
language = "fr"
"""
IMAGES = f"""\
collection: images
title: Images of the Sun
description: Made images by two spacecraft
subjects: [sun, {json.dumps(HOSTILE_TEXT)}]
creators: [{{name: "Tycho & Sophie Brahe"}}]
bibcode: 1602asnp.book.....B
doi: 10.1234/uraniborg
licence: CC-BY-4.0
licence_url: https://creativecommons.org/licenses/by/4.0/
tables:
  main:
    title: Every image
    primary: [id]
    source: {{kind: csv, files: a.csv}}
    columns:
      id: {{type: int32, ucd: meta.id;meta.main, description: Number, rank: 1}}
      mission: {{type: string, ucd: instr.obsty, description: Spacecraft, rank: 2}}
      instrument: {{type: string, ucd: meta.id;instr, description: Instrument, rank: 2}}
      seen: {{type: timestamp, ucd: time.start, description: When it was taken, rank: 3}}
      exposure: {{type: float32, unit: s, ucd: time.duration;obs.exposure, description: Exposure time, rank: 4}}
  letters:
    title: Private letters about images
    access: private
    source: {{kind: csv, files: b.csv}}
    columns:
      word: {{type: string, description: zweihaender}}
"""
STARS = """\
collection: stars
title: Étoiles fixes
description: Stars that do not move
facility: [Uraniborg]
tables:
  main:
    position: [ra, dec]
    source: {kind: csv, files: a.csv}
    columns:
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
"""
HELP_PAGE = f"""\
# How to read an image

Look *closely*. {HOSTILE_TEXT}

![plate](plate.png) [other](more.md) [js](javascript:alert(1)) <javascript:alert(2)> [out](https://example.org/)

| a | b |
|---|--:|
| 1 | 2 |
"""


def build_site(directory: Path) -> Site:
    """Write the site into a directory, publish its collections and open it."""
    (directory / "hven.toml").write_text(SETTINGS, encoding="utf-8")
    rows = ["id,mission,instrument,seen,exposure"]
    for number in range(400):
        mission, instrument = ("SOHO", "EIT") if number % 4 else ("SDO", ["AIA", "HMI"][number % 8 // 4])
        rows.append(
            f"{number},{mission if number != 399 else ''},{instrument},{1996 + number // 40}-0{1 + number % 9}-11T12:00:00,{number / 10}"
        )
    files = {
        "images": {
            "images.yaml": IMAGES,
            "a.csv": "\n".join(rows),
            "b.csv": "word\nsecret\n",
            "help/index.md": HELP_PAGE,
            "help/more.md": "# More\nwords",
        },
        "stars": {"stars.yaml": STARS, "a.csv": "ra,dec\n10,20\n190,-45\n359.9,0\n"},
    }
    for name, written in files.items():
        for path, text in written.items():
            target = directory / "collections" / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    (directory / "collections/images/help/plate.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    more = {
        "home.md": f"# Welcome\n\nTo the island. {HOSTILE_TEXT}\n",
        "home.fr.md": "# Bienvenue\n\nSur l'île.\n",
        "sunny.md": "Only the **Sun**.\n",
        "logo.svg": "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "help/how.md": "# How we observe\n\nAt night.\n",
        "news/2026-11-20-new-plates.md": f"# New plates & <others> ]]> {HOSTILE_TEXT}\n\nThey are **sharp**. {HOSTILE_TEXT}\n",
        "news/2026-11-20-new-plates.fr.md": "# Nouvelles plaques\n\nElles sont nettes.\n",
        "news/2025-01-02.md": "Without a heading, with [plates](/collections/stars) and [bad](javascript:alert(1)).\n\nA second paragraph.\n",
        "news/2025-13-45-never.md": "# Never\n",
        "news/draft.md": "# Draft\n",
        "news/2024-05-06-odd.md": "# Odd \x0b sign\n\ntext \x0c\n",
        "sunny-news/2026-01-01-sun.md": "# The Sun shines\n",
    }  # fmt: skip
    for path, text in more.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text, encoding="utf-8")
    (directory / "news" / "2023-01-01-outside.md").symlink_to("/etc/hostname")
    site = Site(load_settings(directory, {}))
    for name in ("images", "stars"):
        ingest_collection(site, name)
    site.refresh_published_state()
    return site
