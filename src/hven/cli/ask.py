"""``hven query`` and ``hven explain``: ADQL from the shell, as the site's owner."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven.cli.context import site as open_site
from hven.errors import UsageError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    import pyarrow as pa

    from hven.query import Result


def query(
    context: typer.Context,
    adql: Annotated[str, typer.Argument(metavar="ADQL", help="The query; - reads it from standard input.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", "-f", help="votable, csv, tsv, json, parquet, fits, arrow, text (default: by the file's ending, else text)."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead of the terminal.")] = None,
    maxrec: Annotated[int | None, typer.Option("--maxrec", min=0, help="Rows at most.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Ask as an anonymous reader, not as the owner.")] = False,
) -> None:
    """Run ADQL over what is published."""
    from hven import formats
    from hven import query as road
    from hven.auth.permit import ANONYMOUS, OWNER

    text = _read_text(adql)
    fmt, options = formats.select(form or _by_ending(output))
    with open_site(context) as site, road.run(text, ANONYMOUS if public else OWNER, site=site, maxrec=maxrec) as result:
        head = formats.Head(columns=result.columns, infos=(formats.Info(name="QUERY", value=text),))
        with _opened(output) as file:
            for chunk in fmt.write(head, _first_then_rest(result), result.end, options):
                file.write(chunk)
        if result.overflow:
            print(f"hven: cut at {result.rows:,} rows; --maxrec sets the limit", file=sys.stderr)
        if output is not None:
            print(f"hven: {result.rows:,} rows to {output}", file=sys.stderr)


def explain(
    context: typer.Context, adql: Annotated[str, typer.Argument(metavar="ADQL", help="The query; - reads it from standard input.")]
) -> None:
    """Say which road a query takes, and the engine's own text."""
    from hven import query as road
    from hven.auth.permit import OWNER

    with open_site(context) as site:
        print(road.explain(_read_text(adql), OWNER, site=site))


def _first_then_rest(result: Result) -> Iterator[pa.RecordBatch]:
    """Raise errors of the query before the file is begun: the writer only sees batches."""
    import itertools

    batches = result.batches()
    first = next(batches, None)
    return batches if first is None else itertools.chain((first,), batches)


ENDINGS = {"xml": "votable", "fit": "fits", "arrow": "arrow", "pq": "parquet", "text": "text"}  # besides the formats' own


def _by_ending(output: Path | None) -> str:
    """Choose the format that a file's name asks for.

    Raises
    ------
    UsageError
        Its ending says nothing.
    """
    if output is None:
        return "text"
    from hven import formats

    ending = output.suffix.lstrip(".").lower()
    known = {fmt.extension.lstrip("."): fmt.name for fmt in formats.offered()} | ENDINGS
    if ending not in known:
        raise UsageError(
            f"{output}: the ending {output.suffix or '(none)'} says no format",
            remedy="say --format: " + ", ".join(sorted(set(known.values()))),
        )
    return known[ending]


def _read_text(adql: str) -> str:
    """Give the query, from standard input if it is ``-``."""
    if adql != "-":
        return adql
    given = sys.stdin.buffer.read()
    try:
        return given.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = given[: error.start].count(b"\n") + 1
        raise UserError(
            f"standard input is not UTF-8: byte {given[error.start]:#04x} in line {line}", remedy="save the query as UTF-8"
        ) from None


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Open the file to write: a whole one or none at all."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
