"""``hven new``: look at a source and write a first descriptor, with comments where it had to guess."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import ValidationError

from hven.descriptor import _credits, _described, _papers
from hven.descriptor._carried import Carried
from hven.descriptor._chains import chain_of
from hven.descriptor._choosing import chosen, gathered
from hven.descriptor._columns import REGULAR
from hven.descriptor._databases import PASSWORD, look_of, moved, split_address
from hven.descriptor._guesses import (
    Guess,
    Seen,
    describe_guesses,
    guess_columns,
    identifier,
    key_candidates,
    quoted,
)
from hven.descriptor._image_guesses import add_footprints, covers, drop_card_positions
from hven.descriptor._position_guesses import (
    convert_positions,
    describe_body_position,
    find_body_position,
    find_sky_position,
)
from hven.descriptor._proposing import SAMPLE, facts_of
from hven.descriptor._to_standard import Draft, full_name, passing
from hven.descriptor._yaml_text import comment, flow, folded, scalar
from hven.engines import kind as engine_kind
from hven.formats.hats_layout import on_web
from hven.model import Cache, Deviation, add_deviation, plugins
from hven.model.errors import Conflict, SourceError, UsageError, UserError
from hven.model.literal import figure
from hven.model.sky import contours
from hven.model.table import Column
from hven.model.types import parse_type
from hven.sources import (
    Context,
    Credited,
    Described,
    Doubts,
    Guesses,
    Headed,
    Reject,
    Source,
    filekinds,
    remote,
    stores,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.descriptor._chains import Chain
    from hven.model.settings import Settings

# the option that says which table is meant, of kinds that are no services
TABLES = {"fits": "hdu", "product": "part", "sql": "table", "live": "table", "votable": "table", "fixed": "table"}
ROWS, SECONDS = 1_000_000, 8.0  # how much is looked at
KEYS = 5_000_000  # rows among which a name must stand once
ANSWERS = (
    128 << 20
)  # bytes of what a service answered: it is looked at again for the key and for samples, and asked once
FEWER = 20_000  # of a table that other programs work with, or that is elsewhere


def create(
    settings: Settings,
    name: str,
    source: str,
    *,
    kind: str | None = None,
    table: str | None = None,
    standard: str | None = None,
    secret: Callable[[str], str] | None = None,
) -> Path:
    """Write ``collections/<name>/<name>.yaml`` from a file, a folder, a pattern of files, an address, or a database URL in a secret.

    Parameters
    ----------
    settings
        Of the site.
    name
        Of the collection.
    source
        A path from the current directory (of a folder: its files of the ending that most have), a pattern (``'images/*.fits'``), ``http(s)://...`` (downloaded into ``data/``; one that ends
        in ``/tap`` is a service, whose table is read there), or ``$NAME``.
    kind
        Of the source; None: it is guessed.
    table
        Which one of a file or database that has several: as the source's `table` or `hdu` says it.
    standard
        ``epn-tap`` or ``obscore``: the table is mapped to its columns, as far as can be guessed.
    secret
        Resolves ``$NAME``.

    Returns
    -------
    path
        Of the descriptor.

    Raises
    ------
    UserError
        A name that is none, a descriptor that exists, a source that cannot be read.
    Conflict
        There is a descriptor already.
    UsageError
        The name cannot be one, or options exclude each other.
    """
    if not REGULAR.fullmatch(name) or identifier(name) != name.lower():
        raise UsageError(
            f"{name!r} cannot be the name of a collection",
            remedy=f"letters, digits and _, no word of ADQL: {identifier(name)}",
        )
    directory = settings.collections / name
    path = directory / f"{name}.yaml"
    if path.exists():
        raise Conflict(f"{path} exists", remedy="edit it, or remove it first")
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)  # paths that go up from it need it
    try:
        found = _drafted(settings, name, source, kind, table, secret, standard)
        text = found if isinstance(found, str) else passing(found, path, settings)
        path.write_text(text, encoding="utf-8")
    except BaseException:
        if made and not any(directory.iterdir()):
            directory.rmdir()
        raise
    return path


def create_of_paper(
    settings: Settings, name: str, source: str, papers: Sequence[str], *, licence: str | None = None, **more: Any
) -> Path:
    """Write ``collections/<name>/<name>.yaml`` of what belongs to a paper, whose files are copied beside it.

    Parameters
    ----------
    settings, name
        As of `create`.
    source
        The table, or the folder that has it: its other files become the collection's, a ReadMe of CDS or BibTeX says what it is.
    papers
        Their DOIs and bibcodes.
    licence
        Name of the licence, as its authors say.
    more
        As of `create`.

    Returns
    -------
    path
        Of the descriptor.

    Raises
    ------
    UserError
        As of `create`; an identifier that is none; no table, or several.
    Conflict
        There is such a descriptor.
    """
    directory = settings.collections / name
    _papers.identifiers(papers)
    if (directory / f"{name}.yaml").exists():
        raise Conflict(f"{directory / name}.yaml exists", remedy="edit it, or remove it first")
    made = not directory.exists()
    try:
        table, files = _papers.prepare(directory, source)
        path = create(settings, name, str(table), **more)
        path.write_text(_papers.written(path.read_text("utf-8"), papers, files, table, licence), encoding="utf-8")
    except BaseException:
        if made:
            shutil.rmtree(directory, ignore_errors=True)
        raise
    return path


def _drafted(
    settings: Settings,
    name: str,
    source: str,
    kind: str | None,
    table: str | None,
    secret: Callable[[str], str] | None,
    standard: str | None,
) -> str | Draft:
    """Find out what the source is, and draft."""
    directory = settings.collections / name
    address, inside = split_address(source)
    if source.startswith("$") or (address and not PASSWORD.search(source)):
        options: dict[str, Any] = {"url": address or source}
        kind = kind or "sql"
        table = table or inside
        found: Path | None = None
    elif kind is None and standard is None and (said := _several(settings, name, source, table, secret)) is not None:
        return _described.written(name, source, said)
    elif told := _service(source, kind):
        kind, options = told
        found = None
    elif kind in {None, "hats"} and (place := _catalogue(settings, source, directory, sure=kind == "hats")) is not None:
        kind, options = "hats", {"path": place}
        found = None
    elif re.match(r"[a-z][a-z0-9+]*://", source) and not source.startswith(("http://", "https://")):
        raise UsageError(
            "a database's address belongs into a secret: it often holds a password",
            remedy="put it into the environment and write --from '$NAME'",
        )
    else:
        source = _collection_of_folder(source) if kind is None else source
        found, options = _file(settings, source, directory)
        if kind is None and (said := _of_description(settings, name, found, table, secret)) is not None:
            if standard is None:
                return _described.written(name, source, said)
            kind, options, table = *_described_source(said), None
        elif kind is None:
            # which says what it is, if it is no text
            packed = "product" if found.name.lower().endswith(stores.ARCHIVES) else "csv"
            kind = filekinds.inside(found) or filekinds.named(found.name) or packed
        if kind == "sql":
            options = {"file": options["files"]}
        elif kind == "csv" and (readme := _readme(found, directory, table)):
            kind, options = "fixed", {**options, **readme}
    if table is not None:
        service = filekinds.service(kind)
        key = service.table if service else TABLES.get(kind)
        if not key:
            raise UsageError(f"a {kind} source has no tables to choose from", remedy="leave --table out")
        options[key] = int(table) if table.isdigit() and kind not in {"sql", "live"} and not service else table
    if standard is not None:
        if kind == "live":
            raise UsageError(
                "a table that is published in place is not mapped to a standard by a guess",
                remedy="leave --live or --standard out",
            )
        return _draft(name, kind, options, directory, source, secret, standard, private=settings.allow_private)
    return _draft(
        name, kind, options, directory, source, secret, None, private=settings.allow_private, settings=settings
    )


def _catalogue(settings: Settings, source: str, directory: Path, *, sure: bool) -> str | None:
    """Recognise a catalogue of partitions, on this machine or behind an address, and write its place as a descriptor names it."""
    far = source.startswith(("http://", "https://"))
    if not sure and "://" in source and (not far or "?" in source or filekinds.named(source) is not None):
        return None
    given = source if far else str(Path.cwd() / Path(source).expanduser())
    context = Context(directory=directory, allow_private=settings.allow_private)
    try:
        place: str | None = plugins.load("sources", "hats").recognised(given, context)
    except UserError:
        if sure or not far:
            raise
        place = None  # a server may refuse what it does not have: what it says of the address itself is told
    if place is None and sure:
        place = given  # what is lacking is said when it is opened
    return place if place is None or far else _shown(settings, directory, Path(place))


def _service(source: str, kind: str | None) -> tuple[str, dict[str, Any]] | None:
    """Recognise the address of a service: a part of what it has is looked at, nothing is downloaded."""
    if not source.startswith(("http://", "https://")):
        return None
    told = filekinds.addressed(source)
    if told is not None and kind in {None, told[0]}:
        return told
    return (kind, {"url": source}) if kind is not None and filekinds.service(kind) else None


def _several(
    settings: Settings, name: str, source: str, table: str | None, secret: Callable[[str], str] | None
) -> _described.Description | None:
    """Ask a service for several tables at once."""
    if not source.startswith(("http://", "https://")):
        return None
    context = Context(directory=settings.collections / name, secret=secret, allow_private=settings.allow_private)
    return _described.of_address(_described.Given(name=name, address=source, table=table, context=context))


def _of_description(
    settings: Settings, name: str, path: Path, table: str | None, secret: Callable[[str], str] | None
) -> _described.Description | None:
    """Read a file that describes tables instead of holding one."""
    directory = settings.collections / name
    context = Context(directory=directory, secret=secret, allow_private=settings.allow_private, roots=settings.grounds)
    return _described.of_file(
        _described.Given(name=name, path=path, table=table, shown=partial(_shown, settings, directory), context=context)
    )


def _collection_of_folder(source: str) -> str:
    """Name the STAC collection of a folder, which says where its items are and is none of them; another folder stays as it is."""
    collection = Path.cwd() / Path(source).expanduser() / "collection.json"
    if "://" in source or not collection.is_file():
        return source
    return str(Path(source) / collection.name) if _described.is_description(collection) else source


def _described_source(said: _described.Description) -> tuple[str, dict[str, Any]]:
    """Return kind and options of the one table that a description has."""
    sources = [dict(table.source) for table in said.tables if table.source]
    if len(sources) != 1:
        raise UsageError(
            f"the {said.kind} describes {len(sources)} tables with rows, and a standard is mapped from one",
            remedy="choose it with --table",
        )
    return str(sources[0].pop("kind")), sources[0]


def _file(settings: Settings, source: str, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Find or fetch the file; give one to look at, and the options that name all of them."""
    if source.startswith(("http://", "https://")):
        path = remote.download(source, directory / "data", allow_private=settings.allow_private)
        return path, {"files": path.relative_to(directory).as_posix()}
    here = Path.cwd() / Path(source).expanduser()
    folder = here.is_dir()
    first = here = gathered(here, source) if folder else here
    if folder or any(sign in source for sign in "*?["):
        first = next(
            (item for item in sorted(Path(here.anchor).glob(str(here.relative_to(here.anchor)))) if item.is_file()),
            here,
        )
        if first == here:
            raise SourceError(
                f"no file matches {source}", remedy="patterns start at the current directory; put them in quotes"
            )
    elif not here.is_file():
        raise SourceError(f"no file {source}", remedy=f"it is looked for in {Path.cwd()}")
    return first, {"files": _shown(settings, directory, here)}


def _shown(settings: Settings, directory: Path, path: Path) -> str:
    """Write a path as a descriptor names it: from its directory, if it is in the site."""
    whole = Path(_normal(path))
    try:
        return whole.relative_to(directory.resolve()).as_posix()
    except ValueError:
        inside = settings.directory.resolve() in whole.parents
        return Path("../..", whole.relative_to(settings.directory.resolve())).as_posix() if inside else str(whole)


def _far(options: Mapping[str, Any]) -> list[str]:
    """Warn of data outside the site: they stay where they are."""
    if not any(Path(str(options.get(key, ""))).is_absolute() for key in ("files", "file")):
        return []
    return [
        "the data stand outside the site, at an absolute path: no backup holds them, and a site that moves does not find them; copy them into data/ here, and say files: data/..."
    ]


def _normal(path: Path) -> str:
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
    private: bool = False,
) -> str:
    """Write a first descriptor of one table `main`.

    Parameters
    ----------
    name
        Of the collection.
    kind
        Of the source.
    options
        Of the source, as they will stand in the descriptor; paths are relative to `directory`.
    directory
        Of the descriptor.
    origin
        What the curator gave, for the first comment.
    secret
        Resolves ``$NAME``.
    private
        Services that are not on the public internet may be asked.

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
    return str(_draft(name, kind, options, directory, origin, secret, None, private=private))


def _draft(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    directory: Path,
    origin: str | None,
    secret: Callable[[str], str] | None,
    standard: str | None,
    *,
    private: bool = False,
    settings: Settings | None = None,
) -> str | Draft:
    """Look at the source, and write; or return what is needed to write it with a standard."""
    options = dict(options)
    module = plugins.load("sources", kind)
    refused: list[Reject] = []
    deviations: list[Deviation] = []
    context = Context(
        directory=directory,
        reject=refused.append,
        secret=secret,
        allow_private=private,
        answers=Cache(ANSWERS),
        tell=lambda told: None if isinstance(told, str) else add_deviation(deviations, told),
    )
    guessed: list[str] = []
    if kind == "fixed" and not {"fields", "readme"} & set(options):
        options.update(module.guessed(options, context))
        guessed = [
            "fields were cut where the first lines are blank: two that touch are one here; give names, and cut what is several"
        ]
    options, taken = chosen(module, "sql" if kind == "live" else kind, options, context)
    facts = look_of(kind, options, context)
    if kind == "live":  # its rows are looked at, though they will not be copied
        module = plugins.load("sources", "sql")
    source, options = _opened(module, kind, options, context)
    codes = [one.name for one in source.columns() if one.name.upper() in contours.HFC["chain"] and one.type.is_numeric]
    if codes and "types" in module.Options.model_fields:  # digits of a chain code are no number
        options = {**options, "types": {**options.get("types", {}), **dict.fromkeys(codes, "string")}}
        source, options = _opened(module, kind, options, context)
    if settled := (source.guessed() if isinstance(source, Guesses) else {}):
        options = {**options, **settled}
        guessed = [*guessed, "the record below the names holds units: they are taken, and it is no row (`units: true`)"]
    live = kind == "live"
    columns = facts.columns_of(source.columns()) if live and facts is not None else source.columns()
    if not columns:
        raise SourceError(
            "the source has no columns, so there is nothing to publish", remedy="choose another table or file"
        )
    credited = source if isinstance(source, Credited) else None
    elsewhere = filekinds.service(kind) is not None
    paged = elsewhere and "key" in module.Options.model_fields
    far = elsewhere or (credited is not None and on_web(str(options.get("path"))))
    seen, rows, complete = _look(source, columns, FEWER if live or far else ROWS)
    # a service may give less than it is asked for
    complete = complete and (not elsewhere or source.size() == rows)
    guesses = guess_columns(columns, seen, complete=complete, narrow=kind in {"csv", "fixed"})
    guesses = drop_card_positions(guesses, seen)
    shows = covers(kind, options, seen)
    options, notes = _null_words(kind, options, guesses, seen)
    doubts = source.doubts() if isinstance(source, Doubts) else {}
    guesses = [
        replace(item, doubt="; ".join(doubts[item.source]))
        if item.source in doubts
        and item.doubt is None
        and item.expression in {None, quoted(item.source)}
        and item.column.type.is_string
        else item
        for item in guesses
    ]
    changed = [f"{item}; {item.remedy}" if item.remedy else str(item) for item in deviations]
    notes = [*taken, *guessed, *_far(options), *changed, *notes]
    if refused:
        first = refused[0]
        where = f"row {first.row}" + (f", column {first.column}" if first.column else "")
        notes.insert(
            0,
            f"{len(refused):,} rows cannot be read like this and would be refused, the first: {where}: {first.reason}",
        )
    key: Sequence[Guess] = ()
    if facts is not None:
        key, notes = facts.key(guesses), [*notes, *facts.notes(guesses, live=live)]
    why = ""
    if credited is not None and (key := _credits.key(credited, guesses)):
        if not complete:
            why = "the catalogue has an index of it; nobody looked whether a value occurs twice"
        elif not _unique(module, options, context, key[0], KEYS):
            key = ()
    if not key and not live and not (credited is not None and not complete and (far or (credited.rows() or 0) > KEYS)):
        found = (
            _key_there(source, guesses, seen)
            if paged
            else _key(module, options, context, guesses, seen, FEWER if elsewhere else KEYS)
        )
        key = [] if found is None else [found]
        if paged and found is not None:  # rows are asked for page by page by it
            options = {**options, "key": found.source}
    position = _credits.position(credited, guesses)
    guesses = guesses if shows is None else add_footprints(guesses, shows)
    if not live and position is None:  # text that is put together at each query is found by no index
        guesses += convert_positions(guesses)
    position = position or find_sky_position(guesses)
    on_body = find_body_position(guesses) if position is None else None
    if on_body is not None and standard is None:
        notes = [*notes, describe_body_position(on_body)]
    sample = _sample(module, options, context, columns) if standard is not None or "cc" in {item.column.name for item in guesses} else {}  # fmt: skip
    chain = chain_of(facts_of(guesses, sample)) if sample and standard is None and not live else None
    if chain is not None and chain.lacking:
        notes = [*notes, chain.hint]
    elif chain is not None and "s_region" not in {item.column.name for item in guesses}:
        guesses.append(_outlined(chain))
    title, description = source.about() if isinstance(source, Described) else (None, None)
    carried = Carried(source.head() if isinstance(source, Headed) else None, guesses)
    description = description or (facts.look.comment if facts is not None else None)
    if standard is not None:
        pair = position or on_body
        return Draft(
            name=name, standard=full_name(standard), kind=kind, options=options, guesses=guesses, sample=sample, key=key if rows > 1 else (),
            position=None if pair is None else (_of(guesses, pair[0]), _of(guesses, pair[1])), rows=rows, complete=complete, notes=notes, title=title,
            description=description, origin=origin or kind, carried=carried if kind == "tfcat" else None, images=shows, words=" ".join([re.sub(r"[_\W\d]+", " ", text or "") for text in (origin, title, name, description)]),
        )  # fmt: skip
    return _written(
        name,
        kind,
        options,
        guesses,
        position,
        key,
        why,
        _credits.rows(credited, rows, complete=complete),
        notes,
        title,
        description,
        origin,
        carried,
        [] if credited is None else _head_of(credited, settings),
        {} if credited is None else credited.credits(),
    )


def _head_of(credited: Credited, settings: Settings | None) -> list[str]:
    """Write which engine serves the files of a catalogue, unless all tables are its."""
    if settings is None or settings.engine == credited.engine:
        return []
    return _credits.engine(credited, engine_kind(credited.engine).lacks(settings))


def _of(guesses: Sequence[Guess], name: str) -> Guess:
    return next(item for item in guesses if item.column.name == name)


def _sample(
    module: Any, options: Mapping[str, Any], context: Context, columns: Sequence[Column]
) -> dict[str, pa.Array]:
    """Read the first rows."""
    source = module.open(module.Options.model_validate(dict(options)), replace(context, reject=lambda _reject: None))
    batches = list(source.batches(None, SAMPLE))
    return {
        column.name: pa.concat_arrays([batch.column(column.name) for batch in batches])
        if batches
        else pa.array([], column.type.arrow)
        for column in columns
    }


def _opened(module: Any, kind: str, options: dict[str, Any], context: Context) -> tuple[Source, dict[str, Any]]:
    """Open; a directory of images without tables becomes rows of header cards."""
    try:
        source: Source = module.open(module.Options.model_validate(options), context)
        source.columns()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise UserError(
            f"source of kind {kind}: {where}: {first['msg']}" if where else f"source of kind {kind}: {first['msg']}"
        ) from error
    except SourceError as error:
        if kind == "fits" and not {"mode", "hdu"} & options.keys() and "no table" in error.message:
            return _opened(module, kind, {**options, "mode": "header"}, context)
        if kind == "csv" and "is not UTF-8" in error.message and "encoding" not in options:
            return _opened(module, kind, {**options, "encoding": "latin-1"}, context)
        raise
    return source, options


def _look(source: Source, columns: Sequence[Column], most: int = ROWS) -> tuple[dict[str, Seen], int, bool]:
    """Read the first rows: up to a million, or a few seconds."""
    seen = {column.name: Seen() for column in columns}
    started = time.monotonic()
    rows = 0
    for batch in source.batches([column.name for column in columns], most + 1):
        rows += batch.num_rows
        for name, facts in seen.items():
            facts.add(batch.column(name))
        if time.monotonic() - started > SECONDS or rows > most:
            return seen, rows, False
    return seen, rows, True


def _null_words(
    kind: str, options: dict[str, Any], guesses: Sequence[Guess], seen: Mapping[str, Seen]
) -> tuple[dict[str, Any], list[str]]:
    """Add words that stand for no number to the source's options; note numbers that may."""
    notes: list[str] = []
    words = {
        item.source: seen[item.source].null_words
        for item in guesses
        if kind in {"csv", "fixed"} and seen[item.source].null_words and "null" not in options
    }
    if words:
        options = {**options, "null": {name: found[0] if len(found) == 1 else found for name, found in words.items()}}
    for item in guesses:
        facts = seen[item.source]
        codes = [*facts.sentinels, *([-1] if facts.minus_one and item.column.unit not in {None, "mag", "deg"} else [])]
        notes += [
            f"{item.column.name} reaches {figure(value)}: if that stands for no value, {_advice(kind, item, value)}"
            for value in codes
        ]
    return options, notes[:6]


def _advice(kind: str, item: Guess, value: float) -> str:
    if kind in {"csv", "fixed", "json", "fits"}:
        return f"say `null: {{{item.source}: {figure(value)}}}` in the source"
    return f"map it: `{item.column.name}: CASE WHEN {item.source} <> {figure(value)} THEN {item.source} END`"


def _key(
    module: Any,
    options: Mapping[str, Any],
    context: Context,
    guesses: Sequence[Guess],
    seen: dict[str, Seen],
    most: int,
) -> Guess | None:
    """Find a column whose values name the rows: no null, none twice, in all rows (up to five million; of a service, in the first)."""
    for item in key_candidates(guesses, seen):
        if item.expression and item.expression.startswith("sexagesimal"):
            continue
        found = _unique(module, options, context, item, most)
        if found is None:
            return None
        if found:
            return item
    return None


def _unique(module: Any, options: Mapping[str, Any], context: Context, item: Guess, most: int) -> bool | None:
    """Look whether no value of a column is null or occurs twice; None: there are no rows, or too many."""
    import pyarrow.compute as pc  # noqa: PLC0415  (a fifth of a second, for guesses alone)

    quiet = replace(context, reject=lambda _reject: None)
    source = module.open(module.Options.model_validate(dict(options)), quiet)
    parts: list[pa.Array] = []
    rows = 0
    for batch in source.batches([item.source], most if most < KEYS else most + 1):
        parts.append(batch.column(0))
        rows += batch.num_rows
    if rows == 0 or rows > KEYS:
        return None
    values = pa.chunked_array(parts)
    return bool(values.null_count == 0 and pc.count_distinct(values).as_py() == rows)


def _key_there(source: Any, guesses: Sequence[Guess], seen: dict[str, Seen]) -> Guess | None:
    """Find such a column in a table elsewhere: the service counts its values."""
    for item in key_candidates(guesses, seen):
        if item.source and source.unique([item.source]):
            return item
    return None


def _outlined(chain: Chain) -> Guess:
    """Propose a column of the regions of a chain code."""
    about = f"Outline of the region that {chain.facts[0].source} draws, Carrington's longitudes and latitudes"
    return Guess(
        source="",
        expression=chain.outline.format(image=chain.image),
        column=Column(name="s_region", type=parse_type("polygon"), unit="deg", ucd="pos.outline", description=about),
        doubt="guessed from a chain code as HFC's: the largest part of what has several; `hven new --standard epn-tap` has coverage, bounds and quality, too",
    )


# -- writing ------------------------------------------------------------------------------------


def _column(item: Guess, width: int, carried: Carried) -> str:
    column = item.column
    said: dict[str, Any] = {
        "type": "string" if column.type.is_string and column.type.xtype is None else str(column.type)
    }
    for key in ("unit", "ucd", "utype", "description"):
        if value := getattr(column, key):
            said[key] = value
    said |= carried.of(column)
    line = f"      {scalar(column.name)}:".ljust(width + 7) + " " + flow(said)
    said_of = describe_guesses(item)
    return line + (f"  # {comment(said_of)}" if said_of else "")


def _written(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    guesses: Sequence[Guess],
    position: tuple[str, str] | None,
    key: Sequence[Guess],
    why: str,
    counted: str,
    notes: Sequence[str],
    title: str | None,
    description: str | None,
    origin: str | None,
    carried: Carried,
    head: Sequence[str],
    credits_: Mapping[str, str],
) -> str:
    width = min(max(len(scalar(item.column.name)) for item in guesses), 28)
    described = sum(1 for item in guesses if item.column.description)
    lines = [
        f"# A first descriptor, guessed from {comment(origin or str(options.get('files') or 'the source'))}. Look it over and change what is wrong;",
        f"# `hven check {name}` tells every fault; it is published as {name}.main, in place, with nothing to ingest."
        if kind == "live"
        else f"# `hven check {name}` tells every fault, `hven ingest {name}` publishes it as {name}.main.",
        f"collection: {scalar(name)}",
        f"title: {scalar(title or name.replace('_', ' ').capitalize())}"
        + ("" if title else "  # guessed: the name; one line for people"),
    ]
    if description:
        lines += folded("description", description)
    else:
        lines += ["# description: some sentences - what, from where, how good"]
    lines += [*_credits.head(credits_), *head, "tables:", "  main:", counted]
    if described < len(guesses) / 2:
        lines.append(
            f"    # {len(guesses) - described} of {len(guesses)} columns have no description: readers look for it first"
        )
    if key:
        why = why or ("no value occurs twice" if len(key) == 1 else "together they name a row")
        lines.append(f"    primary: {flow([item.column.name for item in key])}  # guessed: {why}")
    if position is not None:
        lines.append(
            f"    position: [{scalar(position[0])}, {scalar(position[1])}]  # guessed: degrees; searches by position use it"
        )
    lines += [f"    # {comment(note)}" for note in notes]
    if carried.hidden:
        lines.append(
            f"    # {carried.hidden:,} columns are for programs, as the source says: pages show them to who asks; take `display: hidden` out of others"
        )
    lines.append("    source: " + flow({"kind": kind, **options}))
    lines.append("    columns:")
    lines += [_column(item, width, carried) for item in guesses]
    mapped = [item for item in guesses if item.expression]
    if mapped:
        lines.append("    map:  # source columns that are called otherwise, and expressions")
        lines += [
            f"      {scalar(item.column.name)}:".ljust(width + 7) + " " + scalar(item.expression) for item in mapped
        ]
    lines += carried.lines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


__all__ = ["create", "draft", "flow", "moved", "scalar"]
