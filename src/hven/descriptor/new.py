"""``hven new``: look at a source and write a first descriptor, with comments where it had to guess."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hven.descriptor import _credits, _described, _papers
from hven.descriptor._carried import Carried
from hven.descriptor._chains import chain_of
from hven.descriptor._choosing import chosen
from hven.descriptor._columns import REGULAR
from hven.descriptor._databases import PASSWORD, look_of, moved, split_address
from hven.descriptor._draft_text import write_draft
from hven.descriptor._guesses import (
    Guess,
    guess_columns,
    identifier,
    quoted,
)
from hven.descriptor._image_guesses import add_footprints, covers, drop_card_positions
from hven.descriptor._position_guesses import (
    convert_positions,
    convert_sexagesimal_pairs,
    describe_body_position,
    find_body_position,
    find_sky_position,
)
from hven.descriptor._series_guesses import describe_outliers, propose_series
from hven.descriptor._source_facts import facts_of
from hven.descriptor._source_places import (
    find_catalogue,
    find_file,
    find_readme,
    find_service,
    show_path,
    warn_of_far_files,
)
from hven.descriptor._source_samples import (
    KEYS,
    ROWS,
    add_null_words,
    find_key,
    find_remote_key,
    is_unique,
    look_at_rows,
    read_first_rows,
)
from hven.descriptor._to_standard import Draft, full_name, passing
from hven.descriptor._yaml_text import flow, scalar
from hven.engines import kind as engine_kind
from hven.formats.hats_layout import on_web
from hven.model import Cache, Deviation, add_deviation, plugins
from hven.model.errors import Conflict, SourceError, UsageError, UserError
from hven.model.sky import contours
from hven.model.table import Column
from hven.model.types import parse_type
from hven.sources import (
    Attributed,
    Context,
    Credited,
    Described,
    Doubts,
    Guesses,
    Headed,
    Reject,
    Sampled,
    Source,
    filekinds,
    stores,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.descriptor._chains import Chain
    from hven.model.settings import Settings

# the option that says which table is meant, of kinds that are no services
TABLES = {"fits": "hdu", "product": "part", "sql": "table", "live": "table", "votable": "table", "fixed": "table"}
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
            remedy=f"letters, digits and _, no word of ADQL: {identifier(name, 'data')}",
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
    elif told := find_service(source, kind):
        kind, options = told
        found = None
    elif (
        kind in {None, "hats"}
        and (place := find_catalogue(settings, source, directory, sure=kind == "hats")) is not None
    ):
        kind, options = "hats", {"path": place}
        found = None
    elif re.match(r"[a-z][a-z0-9+]*://", source) and not source.startswith(("http://", "https://")):
        raise UsageError(
            "a database's address belongs into a secret: it often holds a password",
            remedy="put it into the environment and write --from '$NAME'",
        )
    else:
        source = _collection_of_folder(source) if kind is None else source
        found, options = find_file(settings, source, directory)
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
        elif kind == "csv" and (readme := find_readme(found, directory, table)):
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
        _described.Given(
            name=name, path=path, table=table, shown=partial(show_path, settings, directory), context=context
        )
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
    seen, rows, complete = look_at_rows(source, columns, FEWER if live or far else ROWS)
    # a service may give less than it is asked for
    complete = complete and (not elsewhere or source.size() == rows)
    guesses = guess_columns(columns, seen, complete=complete, narrow=kind in {"csv", "fixed"})
    guesses = drop_card_positions(guesses, seen)
    if not live:  # as below: no index finds what each query computes
        guesses = convert_sexagesimal_pairs(guesses, seen)
    shows = covers(kind, options, seen)
    options, notes = add_null_words(kind, options, guesses, seen)
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
    notes = [*taken, *guessed, *warn_of_far_files(options), *changed, *notes]
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
        elif not is_unique(module, options, context, key[0], KEYS):
            key = ()
    if not key and not live and not (credited is not None and not complete and (far or (credited.rows() or 0) > KEYS)):
        found = (
            find_remote_key(source, guesses, seen)
            if paged
            else find_key(module, options, context, guesses, seen, FEWER if elsewhere else KEYS)
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
    sample = read_first_rows(module, options, context, columns) if standard is not None or "cc" in {item.column.name for item in guesses} else {}  # fmt: skip
    chain = chain_of(facts_of(guesses, sample)) if sample and standard is None and not live else None
    if chain is not None and chain.lacking:
        notes = [*notes, chain.hint]
    elif chain is not None and "s_region" not in {item.column.name for item in guesses}:
        guesses.append(_outlined(chain))
    facts_of_samples = source.samples() if isinstance(source, Sampled) else None
    series: list[str] = []
    if facts_of_samples is not None and isinstance(source, Sampled):
        clock = [column for column in columns if column.name == facts_of_samples.time]
        times = read_first_rows(module, options, context, clock)
        series = propose_series(facts_of_samples, guesses, times[facts_of_samples.time], source.dataset())
        notes = [*notes, *describe_outliers(facts_of_samples, guesses, seen)]
    title, description = source.about() if isinstance(source, Described) else (None, None)
    carried = Carried(source.head() if isinstance(source, Headed) else None, guesses)
    credits_ = source.credits() if isinstance(source, Attributed) else {}
    description = description or (facts.look.comment if facts is not None else None)
    if standard is not None:
        pair = position or on_body
        return Draft(
            name=name, standard=full_name(standard), kind=kind, options=options, guesses=guesses, sample=sample, key=key if rows > 1 else (),
            position=None if pair is None else (_of(guesses, pair[0]), _of(guesses, pair[1])), rows=rows, complete=complete, notes=notes, title=title,
            credits=credits_, by_builder=credited is not None, description=description, origin=origin or kind, carried=carried if kind == "tfcat" else None, images=shows, words=" ".join([re.sub(r"[_\W\d]+", " ", text or "") for text in (origin, title, name, description)]),
        )  # fmt: skip
    return write_draft(
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
        [
            *_credits.head(credits_, by_builder=credited is not None),
            *([] if credited is None else _head_of(credited, settings)),
        ],
        series,
    )


def _head_of(credited: Credited, settings: Settings | None) -> list[str]:
    """Write which engine serves the files of a catalogue, unless all tables are its."""
    if settings is None or settings.engine == credited.engine:
        return []
    return _credits.engine(credited, engine_kind(credited.engine).lacks(settings))


def _of(guesses: Sequence[Guess], name: str) -> Guess:
    return next(item for item in guesses if item.column.name == name)


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


def _outlined(chain: Chain) -> Guess:
    """Propose a column of the regions of a chain code."""
    about = f"Outline of the region that {chain.facts[0].source} draws, Carrington's longitudes and latitudes"
    return Guess(
        source="",
        expression=chain.outline.format(image=chain.image),
        column=Column(name="s_region", type=parse_type("polygon"), unit="deg", ucd="pos.outline", description=about),
        doubt="guessed from a chain code as HFC's: the largest part of what has several; `hven new --standard epn-tap` has coverage, bounds and quality, too",
    )


__all__ = ["create", "draft", "flow", "moved", "scalar"]
