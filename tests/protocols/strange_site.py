"""A site with strange data: no title, 400 columns, 100,000 choices, times before 1900, long names, right-to-left text."""

from __future__ import annotations

from pathlib import Path

from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

COLUMN_COUNT, CHOICE_COUNT = 400, 100_000
LONG_NAME = "x" * 200
ARABIC = "مجرة المرأة المسلسلة"
HEBREW = "גלקסיית אנדרומדה (M31)"


def write_descriptor() -> str:
    """Write the descriptor; the collection has no title, and the columns no description."""
    wide_columns = "\n".join(f"      c{number}: float64" for number in range(COLUMN_COUNT))
    return f"""\
collection: strange
tables:
  wide:
    source: wide.csv
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


def open_strange_site(directory: Path, choice_count: int = CHOICE_COUNT) -> Site:
    """Open the site with its published rows; the caller closes it."""
    numbers = ",".join(str(number) for number in range(COLUMN_COUNT))
    wide = ",".join(f"c{number}" for number in range(COLUMN_COUNT)) + f"\n{numbers}\n{numbers}\n"
    many = "n,choice\n" + "".join(f"{number},choice {number}\n" for number in range(choice_count))
    old = "n,seen,text,name\n" + "".join(
        f'{number},{seen},"{text}",{name}\n'
        for number, (seen, text, name) in enumerate(
            [
                ("1610-01-07T17:00:00", ARABIC, LONG_NAME),
                ("1572-11-11T18:00:00", HEBREW, "nova"),
                ("0900-01-01T00:00:00", f"{ARABIC} Vega {HEBREW}", ""),
            ]
        )
    )
    files = {"wide.csv": wide, "many.csv": many, "old.csv": old}
    site = open_site_with_uningested_files(directory, write_descriptor(), files)
    report = ingest_collection(site, "strange")
    if not report.published:
        raise AssertionError(report.error)
    return site
