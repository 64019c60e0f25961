"""``hven new``: look at a source and write a first descriptor, with comments where it had to guess."""

from __future__ import annotations

import re
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import ValidationError

from hven import plugins
from hven.descriptor.choosing import chosen
from hven.descriptor.columns import REGULAR
from hven.descriptor.guesses import Guess, Seen, guess_columns, identifier, key_candidates, kind_of, positions_of, sexagesimal_parts
from hven.descriptor.options import guess_kind
from hven.errors import Conflict, SourceError, UsageError, UserError
from hven.model.table import Column
from hven.model.types import FLOAT64
from hven.sources import Context, Reject, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.settings import Settings

ROWS, SECONDS = 1_000_000, 8.0  # how much is looked at
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9 ._;/*+-]*[A-Za-z0-9_*]|[A-Za-z]")
_TRAPS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "none"}


def create(
    settings: Settings,
    name: str,
    source: str,
    *,
    kind: str | None = None,
    table: str | None = None,
    secret: Callable[[str], str] | None = None,
) -> Path:
    """Make ``collections/<name>/<name>.yaml`` from a file, a pattern of files, an address, or a database URL in a secret.

    Parameters
    ----------
    source
        A path from the current directory, a pattern (``'images/*.fits'``), ``http(s)://...`` (downloaded into ``data/``), or ``$NAME``.
    table
        Which one of a file or database that has several: as the source's `table` or `hdu` says it.
    secret
        Resolves ``$NAME``.

    Raises
    ------
    UserError
        A name that is none, a descriptor that exists, a source that cannot be read.
    """
    if not REGULAR.fullmatch(name) or identifier(name) != name.lower():
        raise UsageError(
            f"{name!r} cannot be the name of a collection", remedy=f"letters, digits and _, no word of ADQL: {identifier(name)}"
        )
    directory = settings.collections / name
    path = directory / f"{name}.yaml"
    if path.exists():
        raise Conflict(f"{path} exists", remedy="edit it, or remove it first")
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)  # paths that go up from it need it
    try:
        text = _drafted(settings, name, source, kind, table, secret)
        path.write_text(text, encoding="utf-8")
    except BaseException:
        if made and not any(directory.iterdir()):
            directory.rmdir()
        raise
    return path


def _drafted(settings: Settings, name: str, source: str, kind: str | None, table: str | None, secret: Callable[[str], str] | None) -> str:
    """Find out what the source is, and draft."""
    directory = settings.collections / name
    if source.startswith("$"):
        options: dict[str, Any] = {"url": source}
        kind = kind or "sql"
        found: Path | None = None
    elif re.match(r"[a-z][a-z0-9+]*://", source) and not source.startswith(("http://", "https://")):
        raise UsageError(
            "a database's address belongs into a secret: it often holds a password",
            remedy="put it into the environment and write --from '$NAME'",
        )
    else:
        found, options = _file(settings, source, directory)
        if kind is None:
            kind = (kind_of(found) or guess_kind(found.name)) if found.is_file() else None
        if kind is None:
            raise SourceError(f"it cannot be seen what {source} is", remedy=f"say --kind: {', '.join(plugins.names('sources'))}")
        if kind == "sql":
            options = {"file": options["files"]}
        elif kind == "csv" and (readme := _readme(found, directory, table)):
            kind, options = "fixed", {**options, **readme}
    if table is not None:
        key = {"sql": "table", "votable": "table", "fixed": "table", "fits": "hdu"}.get(kind)
        if key is None:
            raise UsageError(f"a {kind} source has no tables to choose from", remedy="leave --table out")
        options[key] = int(table) if table.isdigit() and kind != "sql" else table
    return draft(name, kind, options, directory, origin=source, secret=secret)


def _file(settings: Settings, source: str, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Find or fetch the file; give one to look at, and the options that name all of them."""
    if source.startswith(("http://", "https://")):
        from hven import remote

        path = remote.download(source, directory / "data", allow_private=settings.allow_private)
        return path, {"files": path.relative_to(directory).as_posix()}
    here = Path.cwd() / Path(source).expanduser()
    first = here
    if any(sign in source for sign in "*?["):
        first = next((item for item in sorted(Path(here.anchor).glob(str(here.relative_to(here.anchor)))) if item.is_file()), here)
        if first == here:
            raise SourceError(f"no file matches {source}", remedy="patterns start at the current directory; put them in quotes")
    elif here.is_dir():
        raise SourceError(f"{source} is a directory", remedy=f"--from '{source.rstrip('/')}/*'")
    elif not here.is_file():
        raise SourceError(f"no file {source}", remedy=f"it is looked for in {Path.cwd()}")
    whole = Path(_normal(here))
    try:
        shown = whole.relative_to(directory.resolve()).as_posix()
    except ValueError:
        inside = settings.directory.resolve() in whole.parents
        shown = Path("../..", whole.relative_to(settings.directory.resolve())).as_posix() if inside else str(whole)
    return first, {"files": shown}


def _normal(path: Path) -> str:
    import os

    return os.path.normpath(path)  # resolve() would follow links that the curator made on purpose


def _readme(file: Path, directory: Path, table: str | None) -> dict[str, Any] | None:
    """Find a CDS ReadMe beside the file that describes it."""
    fixed = plugins.load("sources", "fixed")
    for candidate in sorted(file.parent.glob("*[Rr][Ee][Aa][Dd][Mm][Ee]*")):
        if candidate == file or not candidate.is_file() or candidate.stat().st_size > 4 << 20:
            continue
        options = {"files": str(file), "readme": str(candidate), **({"table": table} if table else {})}
        try:
            fixed.open(fixed.Options.model_validate(options), Context(directory=directory)).columns()
        except SourceError:
            continue
        return {"readme": str(candidate)}
    return None


def draft(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    directory: Path,
    *,
    origin: str | None = None,
    secret: Callable[[str], str] | None = None,
) -> str:
    """Write a first descriptor of one table `main`.

    Parameters
    ----------
    options
        Of the source, as they will stand in the descriptor; paths are relative to `directory`.
    origin
        What the curator gave, for the first comment.
    secret
        Resolves ``$NAME``.

    Returns
    -------
    str
        YAML that `descriptor.load` accepts.

    Raises
    ------
    SourceError
        The source cannot be read with these options.
    UsageError
        It has several tables, and none was chosen.
    """
    options = dict(options)
    module = plugins.load("sources", kind)
    refused: list[Reject] = []
    context = Context(directory=directory, reject=refused.append, secret=secret)
    guessed: list[str] = []
    if kind == "fixed" and not {"fields", "readme"} & set(options):
        options.update(module.guessed(options, context))
        guessed = ["fields were cut where the first lines are blank: two that touch are one here; give names, and cut what is several"]
    options, taken = chosen(module, kind, options, context)
    source, options = _opened(module, kind, options, context)
    columns = source.columns()
    seen, rows, complete = _look(source, columns)
    guesses = guess_columns(columns, seen, complete=complete, narrow=kind in {"csv", "fixed"})
    options, notes = _null_words(kind, options, guesses, seen)
    notes = [*taken, *guessed, *notes]
    if refused:
        first = refused[0]
        where = f"row {first.row}" + (f", column {first.column}" if first.column else "")
        notes.insert(0, f"{len(refused):,} rows cannot be read like this and would be refused, the first: {where}: {first.reason}")
    key = _key(module, options, context, guesses, seen)
    guesses += _assembled_position(guesses)
    title, description = _about(source)
    return _written(name, kind, options, guesses, positions_of(guesses), key, (rows, complete), notes, title, description, origin)


def _opened(module: Any, kind: str, options: dict[str, Any], context: Context) -> tuple[Source, dict[str, Any]]:
    """Open; a directory of images without tables becomes rows of header cards."""
    try:
        source: Source = module.open(module.Options.model_validate(options), context)
        source.columns()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise UserError(f"source of kind {kind}: {where}: {first['msg']}" if where else f"source of kind {kind}: {first['msg']}") from error
    except SourceError as error:
        if kind == "fits" and not {"mode", "hdu"} & options.keys() and "no table" in error.message:
            return _opened(module, kind, {**options, "mode": "header"}, context)
        if kind == "csv" and "is not UTF-8" in error.message and "encoding" not in options:
            return _opened(module, kind, {**options, "encoding": "latin-1"}, context)
        raise
    return source, options


def _look(source: Source, columns: Sequence[Column]) -> tuple[dict[str, Seen], int, bool]:
    """Read the first rows: up to a million, or a few seconds."""
    seen = {column.name: Seen() for column in columns}
    started = time.monotonic()
    rows = 0
    for batch in source.batches(None, ROWS + 1):
        rows += batch.num_rows
        for name, facts in seen.items():
            facts.add(batch.column(name))
        if time.monotonic() - started > SECONDS or rows > ROWS:
            return seen, rows, False
    return seen, rows, True


def _null_words(kind: str, options: dict[str, Any], guesses: Sequence[Guess], seen: Mapping[str, Seen]) -> tuple[dict[str, Any], list[str]]:
    """Give words that stand for no number to the source, and notes on numbers that may."""
    notes: list[str] = []
    words = {
        item.source: seen[item.source].null_words
        for item in guesses
        if kind in {"csv", "fixed"} and seen[item.source].null_words and "null" not in options
    }
    if words:
        options = {**options, "null": {name: found[0] if len(found) == 1 else found for name, found in words.items()}}
    for item in guesses:
        notes += [
            f"{item.column.name} reaches {value:g}: if that stands for no value, {_advice(kind, item, value)}"
            for value in seen[item.source].sentinels
        ]
    return options, notes[:6]


def _advice(kind: str, item: Guess, value: float) -> str:
    if kind in {"csv", "fixed"}:
        return f"say `null: {{{item.source}: {value:g}}}` in the source"
    return f"map it: `{item.column.name}: CASE WHEN {item.source} <> {value:g} THEN {item.source} END`"


def _key(module: Any, options: Mapping[str, Any], context: Context, guesses: Sequence[Guess], seen: dict[str, Seen]) -> Guess | None:
    """Find a column whose values name the rows: no null, none twice, in all rows (up to five million)."""
    import pyarrow.compute as pc

    quiet = replace(context, reject=lambda _reject: None)
    for item in key_candidates(guesses, seen):
        if item.expression and item.expression.startswith("sexagesimal"):
            continue
        source = module.open(module.Options.model_validate(dict(options)), quiet)
        parts: list[pa.Array] = []
        rows = 0
        for batch in source.batches([item.source], 5_000_001):
            parts.append(batch.column(0))
            rows += batch.num_rows
        if rows == 0 or rows > 5_000_000:
            return None
        values = pa.chunked_array(parts)
        if values.null_count == 0 and pc.count_distinct(values).as_py() == rows:
            return item
    return None


def _assembled_position(guesses: Sequence[Guess]) -> list[Guess]:
    """Add positions in degrees where a catalogue has them in pieces."""
    taken = {item.column.name for item in guesses}
    parts = sexagesimal_parts(item.source for item in guesses)
    if parts is None or {"ra", "dec"} & taken or positions_of(guesses):
        return []
    return [
        Guess(
            source="",
            expression=text,
            column=Column(name=name, type=FLOAT64, unit="deg", ucd=f"pos.eq.{name};meta.main", description=about),
        )
        for name, text, about in (("ra", parts[0], "Right ascension"), ("dec", parts[1], "Declination"))
    ]


def _about(source: Source) -> tuple[str | None, str | None]:
    """Take a title and a description from a source that has them (`about`)."""
    said = getattr(source, "about", None)
    title, description = said() if callable(said) else (None, None)
    return title, description


# -- writing ------------------------------------------------------------------------------------


def scalar(value: object) -> str:
    """Write a value for YAML so that it reads back as it is: plain where nothing can go wrong, else in quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _TRAPS and "  " not in text and " -" not in text:
        return text
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    out = []
    for sign in text:
        if sign in '"\\':
            out.append("\\" + sign)
        elif sign == "\n":
            out.append("\\n")
        elif sign.isprintable() and sign != "\ufeff":
            out.append(sign)
        else:
            code = ord(sign)
            out.append(f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


def flow(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def comment(text: str) -> str:
    """Make text fit for a comment: one line, nothing that ends it."""
    return "".join(sign if sign.isprintable() else " " for sign in text)[:600]


def _folded(key: str, text: str) -> list[str]:
    """Write a long text over several lines."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    if not paragraphs or not all(part.isprintable() for part in paragraphs) or len(text) < 90:
        return [f"{key}: {scalar(' '.join(text.split()))}"]
    lines = [f"{key}: >-"]
    for number, part in enumerate(paragraphs):
        lines += [""] * bool(number)
        lines += textwrap.wrap(part, 110, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return lines


def _column(item: Guess, width: int) -> str:
    column = item.column
    said: dict[str, Any] = {"type": "string" if column.type.is_string and column.type.xtype is None else str(column.type)}
    for key in ("unit", "ucd", "utype", "description"):
        if value := getattr(column, key):
            said[key] = value
    line = f"      {scalar(column.name)}:".ljust(width + 7) + " " + flow(said)
    return line + (f"  # {comment(item.doubt)}" if item.doubt else "")


def _written(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    guesses: Sequence[Guess],
    position: tuple[str, str] | None,
    key: Guess | None,
    counted: tuple[int, bool],
    notes: Sequence[str],
    title: str | None,
    description: str | None,
    origin: str | None,
) -> str:
    rows, complete = counted
    width = min(max(len(scalar(item.column.name)) for item in guesses), 28)
    described = sum(1 for item in guesses if item.column.description)
    lines = [
        f"# A first descriptor, guessed from {comment(origin or str(options.get('files') or 'the source'))}. Look it over and change what is wrong;",
        f"# `hven check {name}` tells every fault, `hven ingest {name}` publishes it as {name}.main.",
        f"collection: {scalar(name)}",
        f"title: {scalar(title or name.replace('_', ' ').capitalize())}" + ("" if title else "  # one line for people"),
    ]
    if description:
        lines += _folded("description", description)
    else:
        lines += ["# description: some sentences - what, from where, how good"]
    lines += [
        '# creators: [{name: "Brahe, T."}]  # who made the data, in the order of citation',
        "# licence: CC-BY-4.0",
        "# reference_url: https://...",
        "tables:",
        "  main:",
        f"    # {rows:,} rows" if complete else f"    # guessed from the first {rows - rows % 1000:,} rows",
    ]
    if described < len(guesses) / 2:
        lines.append(f"    # {len(guesses) - described} of {len(guesses)} columns have no description: readers look for it first")
    if key is not None:
        lines.append(f"    primary: [{scalar(key.column.name)}]  # no value occurs twice")
    if position is not None:
        lines.append(f"    position: [{scalar(position[0])}, {scalar(position[1])}]  # degrees; searches by position use it")
    lines += [f"    # {comment(note)}" for note in notes]
    lines.append("    source: " + flow({"kind": kind, **options}))
    lines.append("    columns:")
    lines += [_column(item, width) for item in guesses]
    mapped = [item for item in guesses if item.expression]
    if mapped:
        lines.append("    map:  # source columns that are called otherwise, and expressions")
        lines += [f"      {scalar(item.column.name)}:".ljust(width + 7) + " " + scalar(item.expression) for item in mapped]
    return "\n".join(line.rstrip() for line in lines) + "\n"


__all__ = ["create", "draft", "flow", "scalar"]
