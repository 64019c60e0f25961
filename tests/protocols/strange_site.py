"""A site with strange data: 400 columns, 100,000 choices, times before 1900, long names, right-to-left text, no title.

The collection `strange` has no title and no descriptions. In the collection `letters`, titles, descriptions, columns and
values have right-to-left letters, or 200 characters, with and without blanks.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

COLUMN_COUNT, CHOICE_COUNT = 400, 100_000
LONG_NAME = "x" * 200
ARABIC = "مجرة المرأة المسلسلة"
HEBREW = "גלקסיית אנדרומדה (M31)"
LONG_TITLE = ("The long title of a collection about nothing in particular, " * 4)[:200].strip()
LONG_COLUMN = "c" * 128  # the longest name of a column
OLD_TIMES = ("1610-01-07T17:00:00", "1572-11-11T18:00:00", "0900-01-01T00:00:00")
OLD_JULIAN_DATES = [
    (datetime.fromisoformat(time) - datetime(1970, 1, 1)) / timedelta(days=1) + 2_440_587.5 for time in OLD_TIMES
]


def write_descriptor() -> str:
    """Write the descriptor; the collection has no title, and the columns no description."""
    wide_columns = "\n".join(f"      c{number}: int32" for number in range(COLUMN_COUNT))
    return f"""\
collection: strange
tables:
  wide:
    source: wide.csv
    primary: c0
    columns:
{wide_columns}
  many:
    source: many.csv
    primary: n
    columns: {{n: int32, choice: string}}
  old:
    source: old.csv
    primary: n
    columns: {{n: int32, seen: {{type: timestamp, ucd: time.epoch}}, text: string, name: string}}
"""


def write_letters_descriptor() -> str:
    """Write the descriptor with right-to-left and with long texts."""
    return f"""\
collection: letters
title: "{ARABIC}"
description: "{ARABIC} ({HEBREW}), M31."
subjects: ["{HEBREW}", "{LONG_NAME}"]
creators: ["{ARABIC}", "{LONG_NAME}"]
tables:
  main:
    title: "{HEBREW}"
    description: "{ARABIC}, {HEBREW}."
    source: main.csv
    primary: name
    columns:
      name: {{type: string, ucd: meta.id;meta.main, description: "{ARABIC}"}}
      kind: {{type: string, description: "{HEBREW}"}}
      size: {{type: float64, unit: km, description: "{ARABIC}"}}
      "{LONG_COLUMN}": {{type: float64, unit: km, description: "{LONG_TITLE}"}}
  titled:
    title: "{LONG_TITLE}"
    source: titled.csv
    primary: name
    columns: {{name: string, size: float64}}
  unbroken:
    title: "{LONG_NAME}"
    source: titled.csv
    primary: name
    columns: {{name: string, size: float64}}
"""


def write_letters() -> dict[str, str]:
    """Write the files of the collection `letters`, by their paths beside the other descriptor."""
    kinds = (ARABIC, HEBREW, LONG_NAME)
    names = (f"{ARABIC} 1", f"{HEBREW} 2", f"{LONG_NAME} 3", LONG_NAME)
    rows = [f'{name} {row},"{kinds[row % 3]}",{row},{row}' for row in range(6) for name in names]
    titled = "name,size\n" + "".join(f"{name},{number}\n" for number, name in enumerate(names))
    return {
        "../letters/letters.yaml": write_letters_descriptor(),
        "../letters/main.csv": "\n".join([f"name,kind,size,{LONG_COLUMN}", *rows, ""]),
        "../letters/titled.csv": titled,
    }


def open_strange_site(directory: Path, choice_count: int = CHOICE_COUNT) -> Site:
    """Open the site with its published rows; the caller closes it."""
    numbers, other_numbers = (",".join(str(number + row) for number in range(COLUMN_COUNT)) for row in (0, 1))
    wide = ",".join(f"c{number}" for number in range(COLUMN_COUNT)) + f"\n{numbers}\n{other_numbers}\n"
    many = "n,choice\n" + "".join(f"{number},choice {number}\n" for number in range(choice_count))
    old = "n,seen,text,name\n" + "".join(
        f'{number},{seen},"{text}",{name}\n'
        for number, (seen, text, name) in enumerate(
            zip(OLD_TIMES, (ARABIC, HEBREW, f"{ARABIC} Vega {HEBREW}"), (LONG_NAME, "nova", ""), strict=True)
        )
    )
    files = {"wide.csv": wide, "many.csv": many, "old.csv": old, **write_letters()}
    site = open_site_with_uningested_files(directory, write_descriptor(), files)
    for collection in ("strange", "letters"):
        report = ingest_collection(site, collection)
        if not report.published:
            raise AssertionError(report.error)
    return site
