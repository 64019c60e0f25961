"""``hven query`` and ``hven explain``: ADQL from the shell, as the site's owner."""

from __future__ import annotations

import contextlib
import itertools
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven import formats
from hven import query as road
from hven.adql.text import write
from hven.app._cli.context import show_json
from hven.app._cli.context import site as open_site
from hven.app._cli.remote_query import Remote
from hven.app._cli.remote_query import ask as ask_there
from hven.model import plugins
from hven.model.clock import stopped
from hven.model.errors import NotFound, UsageError, UserError
from hven.query import resolver
from hven.site import people_of
from hven.site.auth import ANONYMOUS, OWNER, recognised
from hven.site.auth.local import reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    import pyarrow as pa

    from hven.query import Result

    Ask = Callable[[str, int | None], AbstractContextManager[Result | Remote]]


def query(
    context: typer.Context,
    adql: Annotated[
        str | None, typer.Argument(metavar="ADQL", help="The query; - reads it from standard input.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help=f"{', '.join(plugins.names('formats'))} (default: by the file's ending, else text).",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead of the terminal.")
    ] = None,
    maxrec: Annotated[int | None, typer.Option("--maxrec", min=0, help="Rows at most.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Ask as an anonymous reader, not as the owner.")] = False,
    account: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Ask as the reader of this account.")
    ] = None,
    epn: Annotated[
        str | None, typer.Option("--epn", metavar="PARAMETERS", help="EPN-TAP parameters instead of ADQL.")
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="With --epn: this table (default: all EPN-TAP tables).")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Ask this TAP service instead of the site.")
    ] = None,
    unknown: Annotated[bool, typer.Option("--unknown", help="With --epn: also rows whose value is not known.")] = False,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="SNAPSHOT|TIME",
            help="Ask what was published then: 2026-11-20T08:00, or an id of hven history.",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the ADQL, and do not run it.")] = False,
) -> None:
    """Run ADQL, or EPN-TAP parameters, over what is published."""
    if (adql is None) == (epn is None):
        raise UsageError(
            "give a query in ADQL, or parameters with --epn",
            remedy='hven query "SELECT ..", or hven query --epn "target_name=Mars"',
        )
    if epn is None and (table or unknown):
        raise UsageError("--table and --unknown belong to --epn", remedy="write the table into the ADQL")
    fmt, options = formats.select(form or _by_ending(output))
    if as_of is not None and url is not None:
        raise UsageError("--as-of is for the site's own tables", remedy="another Hven takes the TAP parameter ASOF")
    if account is not None and (public or url is not None):
        raise UsageError("--as is for the site's own tables, and for somebody", remedy="leave --public or --url out")
    with _service(context, url, public=public, account=account, as_of=as_of) as ask:
        text = _read_text(adql) if adql is not None else _translated(epn or "", ask, table or [], unknown=unknown)
        if show:
            print(text)
            return
        with ask(text, maxrec) as result:
            asked = (formats.Info(name="QUERY", value=text),)
            head = result.head(asked) if isinstance(result, Remote) else road.head(result, infos=asked)
            with _opened(output) as file:
                for chunk in fmt.write(head, _first_then_rest(result), result.end, options):
                    with stopped(result.clock):  # a pager takes the time that its reader takes
                        file.write(chunk)
            if result.overflow:
                print(f"hven: cut at {result.rows:,} rows; --maxrec sets the limit", file=sys.stderr)
            if output is not None:
                print(f"hven: {result.rows:,} rows to {output}", file=sys.stderr)


@contextlib.contextmanager
def _service(
    context: typer.Context, url: str | None, *, public: bool, account: str | None = None, as_of: str | None = None
) -> Iterator[Ask]:
    """Open what answers ADQL: the site, or a service elsewhere."""
    if url is not None:
        yield partial(ask_there, url)
        return
    with open_site(context) as site:
        run = partial(road.run, site=site, as_of=as_of)
        who = ANONYMOUS if public else OWNER
        if account is not None:
            if not site.store.users.there(account):
                raise NotFound(f"there is no account {account!r:.80}", remedy="hven user list shows them")
            who = reader(account, site.store, site.settings)
            who = recognised(who, site.settings, site.store.grants, partial(people_of, site))
        yield lambda text, maxrec: run(text, who, maxrec=maxrec)


def _translated(parameters: str, ask: Ask, names: Sequence[str], *, unknown: bool) -> str:
    """Translate EPN-TAP parameters into ADQL, and say what is left out."""
    from hven.portal import conditions as epn  # noqa: PLC0415  (takes time to load)

    def rows(text: str) -> Iterator[dict[str, Any]]:
        with ask(text, 100_000) as result:
            for batch in result.batches():
                yield from batch.to_pylist()

    asked = epn.translate(parameters, epn.find_tables(rows, names), unknown=unknown)
    for note in asked.notes:
        print(f"hven: {note}", file=sys.stderr)
    return write(asked.query)


def explain(
    context: typer.Context,
    adql: Annotated[str, typer.Argument(metavar="ADQL", help="The query; - reads it from standard input.")],
) -> None:
    """Print which road a query takes, and the engine's own text."""
    with open_site(context) as site:
        print(road.explain(_read_text(adql), OWNER, site=site))


def resolve(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="An object, as people write it: 'M 31'.")],
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Resolve an object's name: position, other names, who says so."""
    with open_site(context) as site:
        found = resolver.resolve(name, site=site)
    if as_json:
        show_json(asdict(found))
        return
    place = None if found.position is None else f"{found.position[0]:.8f} {found.position[1]:+.8f}"
    motion = None if found.proper_motion is None else f"{found.proper_motion[0]:g} {found.proper_motion[1]:+g} mas/yr"
    rows = {
        "name": found.name, "kind": found.kind, "position": place, "frame": found.frame if place else None,
        "epoch": found.epoch, "proper motion": motion, "other names": ", ".join(found.ids[:12]) or None,
        "confidence": found.confidence, "source": found.source, "age": _age(found.age), "note": found.note or None,
    }  # fmt: skip
    for title, value in rows.items():
        if value is not None:
            print(f"{title:14} {value}")


def _age(seconds: float) -> str | None:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 1 else None


def _first_then_rest(result: Result | Remote) -> Iterator[pa.RecordBatch]:
    """Raise errors of the query before the file is begun: the writer only sees batches."""
    batches = result.batches()
    first = next(batches, None)
    return batches if first is None else itertools.chain((first,), batches)


# besides the formats' own
ENDINGS = {"xml": "votable", "fit": "fits", "arrow": "arrow", "pq": "parquet", "text": "text"}


def _by_ending(output: Path | None) -> str:
    """Choose the format that a file's name asks for.

    Raises
    ------
    UsageError
        Its ending says nothing.
    """
    if output is None:
        return "text"
    ending = output.suffix.lstrip(".").lower()
    known = {fmt.extension.lstrip("."): fmt.name for fmt in formats.offered()} | ENDINGS
    if ending not in known:
        raise UsageError(
            f"{output}: the ending {output.suffix or '(none)'} says no format",
            remedy="say --format: " + ", ".join(sorted(set(known.values()))),
        )
    return known[ending]


def _read_text(adql: str) -> str:
    """Return the query, read from standard input if it is ``-``."""
    if adql != "-":
        return adql
    given = sys.stdin.buffer.read()
    try:
        return given.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = given[: error.start].count(b"\n") + 1
        raise UserError(
            f"standard input is not UTF-8: byte {given[error.start]:#04x} in line {line}",
            remedy="save the query as UTF-8",
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
