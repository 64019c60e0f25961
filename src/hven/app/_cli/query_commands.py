"""``hven query`` and ``hven explain``: run ADQL from the shell."""

from __future__ import annotations

import contextlib
import itertools
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven import formats
from hven import query as query_pipeline
from hven.adql.adql_writer import write_adql
from hven.app._cli.context import open_site
from hven.app.remote_query import RemoteQueryResult, run_remote_query
from hven.model import plugins
from hven.model.deadlines import pause_deadline
from hven.model.errors import NotFoundError, UsageError, UserError
from hven.site import find_groups_and_aliases
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL, with_known_groups_and_names
from hven.site.auth.local import build_principal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    import pyarrow as pa

    from hven.query import QueryResult

    QueryRunner = Callable[[str, int | None], AbstractContextManager[QueryResult | RemoteQueryResult]]

MAX_TABLE_ROWS = 100_000  # rows of TAP_SCHEMA that are read to find EPN-TAP tables


def query(
    context: typer.Context,
    *,
    adql: Annotated[
        str | None, typer.Argument(metavar="ADQL", help="The query, or - to read the query from standard input.")
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help=f"{', '.join(plugins.list_plugins('formats'))} (default: from the extension of the file, or else "
            "text).",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file instead of the terminal.")
    ] = None,
    maxrec: Annotated[int | None, typer.Option("--maxrec", min=0, help="Maximum number of rows.")] = None,
    is_public: Annotated[
        bool, typer.Option("--public", help=("Run the query as an anonymous user, not as the owner."))
    ] = False,
    account: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Run the query as the user of this account.")
    ] = None,
    epn: Annotated[
        str | None, typer.Option("--epn", metavar="PARAMETERS", help="EPN-TAP parameters instead of ADQL.")
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="With --epn: query this table (default: all EPN-TAP tables).")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Send the query to this TAP service instead of the site.")
    ] = None,
    include_unknown: Annotated[
        bool, typer.Option("--unknown", help="With --epn: include rows that have no value for a parameter.")
    ] = False,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="SNAPSHOT|TIME",
            help="Query an earlier published state: a time (2026-11-20T08:00), or an id from `hven history`.",
        ),
    ] = None,
    show_only: Annotated[bool, typer.Option("--show", help="Print the ADQL without running it.")] = False,
) -> None:
    """Query the published tables with ADQL or EPN-TAP parameters."""
    if (adql is None) == (epn is None):
        raise UsageError(
            "give a query in ADQL, or parameters with --epn",
            remedy='run `hven query "SELECT .."`, or `hven query --epn "target_name=Mars"`',
        )
    if epn is None and (table or include_unknown):
        raise UsageError("--table and --unknown need --epn", remedy="specify the table in the ADQL query")
    output_format, options = formats.select_format(format_name or _choose_format_by_extension(output))
    if as_of is not None and url is not None:
        raise UsageError(
            "--as-of cannot be combined with --url",
            remedy=(
                "leave out --as-of; to query an earlier state of another Hven site, use a TAP client that can send the "
                "parameter ASOF"
            ),
        )
    if account is not None and (is_public or url is not None):
        raise UsageError("--as cannot be combined with --public or --url", remedy="leave out --public and --url")
    with _open_query_runner(context, url, is_public=is_public, account=account, as_of=as_of) as run_query:
        if adql is not None:
            text = _read_query_or_stdin(adql)
        else:
            text = _translate_epn_to_adql(
                epn or "", run_query, table or [], include_unknown=include_unknown, is_remote=url is not None
            )
        if show_only:
            print(text)
            return
        with run_query(text, maxrec) as result:
            _write_result(result, text, output_format, options, output)


def _write_result(
    result: QueryResult | RemoteQueryResult,
    query_text: str,
    output_format: formats.TableFormat,
    options: dict[str, str],
    output: Path | None,
) -> None:
    """Write the rows of a result to the terminal or to a file, and say on standard error how many there are."""
    infos = (formats.InfoElement(name="QUERY", value=query_text),)
    if isinstance(result, RemoteQueryResult):
        metadata = result.build_metadata(infos)
    else:
        metadata = query_pipeline.build_result_metadata(result, infos=infos)
    chunks = output_format.write(metadata, _preload_first_batch(result), result.build_status, options)
    with _open_output(output) as file:
        for chunk in chunks:
            with pause_deadline(result.deadline):  # a pager blocks for as long as its user reads
                file.write(chunk)
    if result.overflow:
        print(
            f"hven: the result was cut off after {result.row_count:,} rows; raise the limit with --maxrec",
            file=sys.stderr,
        )
    if output is not None:
        print(f"hven: wrote {result.row_count:,} rows to {output}", file=sys.stderr)


@contextlib.contextmanager
def _open_query_runner(
    context: typer.Context, url: str | None, *, is_public: bool, account: str | None = None, as_of: str | None = None
) -> Iterator[QueryRunner]:
    """Open the service that answers ADQL: the site, or a TAP service elsewhere."""
    if url is not None:
        yield partial(run_remote_query, url)
        return
    with open_site(context) as site:
        run_site_query = partial(query_pipeline.run_query, site=site, as_of=as_of)
        principal = ANONYMOUS_PRINCIPAL if is_public else OWNER_PRINCIPAL
        if account is not None:
            if not site.store.users.has_account(account):
                raise NotFoundError(
                    f"there is no account {account!r:.80}", remedy="run `hven user list` to see all accounts"
                )
            principal = build_principal(account, site.store, site.settings)
            principal = with_known_groups_and_names(
                principal, site.settings, site.store.grants, partial(find_groups_and_aliases, site)
            )
        yield lambda text, maxrec: run_site_query(text, principal, maxrec=maxrec)


def _translate_epn_to_adql(
    parameters: str, run_query: QueryRunner, table_names: Sequence[str], *, include_unknown: bool, is_remote: bool
) -> str:
    """Translate EPN-TAP parameters into ADQL, and print notes about what is left out."""
    from hven.portal import conditions as epn_conditions  # noqa: PLC0415  (takes time to load)

    def fetch_rows(text: str) -> Iterator[dict[str, Any]]:
        with run_query(text, MAX_TABLE_ROWS) as result:
            for batch in result.iterate_batches():
                yield from batch.to_pylist()

    tables = epn_conditions.fetch_epn_tap_tables(fetch_rows, table_names)
    translated = epn_conditions.translate_epn_tap_parameters(
        parameters, tables, include_unknown=include_unknown, is_remote=is_remote
    )
    for note in translated.notes:
        print(f"hven: {note}", file=sys.stderr)
    return write_adql(translated.query)


def explain(
    context: typer.Context,
    adql: Annotated[str, typer.Argument(metavar="ADQL", help="The query, or - to read the query from standard input.")],
) -> None:
    """Print the plan of a query, and the text that the engine gets."""
    with open_site(context) as site:
        print(query_pipeline.explain_query(_read_query_or_stdin(adql), OWNER_PRINCIPAL, site=site))


def _preload_first_batch(result: QueryResult | RemoteQueryResult) -> Iterator[pa.RecordBatch]:
    """Fetch the first batch, so that errors of the query are raised before the output file is begun."""
    batches = result.iterate_batches()
    first_batch = next(batches, None)
    if first_batch is None:
        return batches
    return itertools.chain((first_batch,), batches)


# extensions besides those that the formats declare
FORMAT_EXTENSIONS = {"xml": "votable", "fit": "fits", "arrow": "arrow", "pq": "parquet", "text": "text"}


def _choose_format_by_extension(output: Path | None) -> str:
    """Choose the format by the extension of the output file.

    Raises
    ------
    UsageError
        No format has this extension.
    """
    if output is None:
        return "text"
    extension = output.suffix.lstrip(".").lower()
    formats_by_extension = {record.extension.lstrip("."): record.name for record in formats.load_formats()}
    formats_by_extension |= FORMAT_EXTENSIONS
    if extension not in formats_by_extension:
        format_names = sorted(set(formats_by_extension.values()))
        if output.suffix:
            message = f"{output}: no format has the extension {output.suffix}"
        else:
            message = f"{output} has no extension, so Hven cannot choose a format"
        raise UsageError(
            message,
            remedy=f"set --format to one of {', '.join(format_names)}",
        )
    return formats_by_extension[extension]


def _read_query_or_stdin(adql: str) -> str:
    """Return the query; ``-`` reads it from standard input."""
    if adql != "-":
        return adql
    query_bytes = sys.stdin.buffer.read()
    try:
        return query_bytes.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = query_bytes[: error.start].count(b"\n") + 1
        wrong_byte = query_bytes[error.start]
        raise UserError(
            f"standard input is not UTF-8: byte {wrong_byte:#04x} on line {line}",
            remedy="save the query as UTF-8",
        ) from None


@contextlib.contextmanager
def _open_output(output: Path | None) -> Iterator[BinaryIO]:
    """Open the output; a file appears under its name only when it is complete."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial_file = output.with_name(output.name + ".part")
    if not output.parent.is_dir():
        raise UserError(f"{output} cannot be written: there is no directory {output.parent}", remedy="create it first")
    try:
        with partial_file.open("wb") as file:
            yield file
        partial_file.replace(output)
    finally:
        partial_file.unlink(missing_ok=True)
