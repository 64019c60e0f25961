"""``hven new``: look at a source and write a first descriptor, with comments where it had to guess."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hven.descriptor import _paper_drafts, _source_credits, _table_descriptions
from hven.descriptor._chain_codes import recognize_chain_code
from hven.descriptor._column_guesses import (
    ColumnGuess,
    guess_columns,
    quote_source_name,
    to_identifier,
)
from hven.descriptor._columns import REGULAR_IDENTIFIER_PATTERN
from hven.descriptor._database_tables import (
    PASSWORD_PATTERN,
    inspect_database_table,
    move_connection_line_to_secrets,
    split_address,
)
from hven.descriptor._draft_text import write_draft_descriptor
from hven.descriptor._image_guesses import add_footprint_columns, detect_image_coverage, drop_card_positions
from hven.descriptor._position_guesses import (
    convert_positions,
    convert_sexagesimal_pairs,
    describe_body_position,
    find_body_position,
    find_sky_position,
)
from hven.descriptor._series_guesses import describe_outliers, propose_series
from hven.descriptor._source_discovery import (
    find_catalogue,
    find_file,
    find_readme,
    find_service,
    format_descriptor_path,
    list_outside_file_warnings,
)
from hven.descriptor._source_facts import collect_source_columns
from hven.descriptor._source_metadata import SourceMetadata
from hven.descriptor._source_samples import (
    MAX_KEY_CHECK_ROWS,
    MAX_SAMPLED_ROWS,
    add_null_words,
    find_key,
    find_remote_key,
    is_unique,
    read_first_rows,
    sample_columns,
)
from hven.descriptor._standard_drafts import StandardDraft, find_full_standard_name, write_checked_draft
from hven.descriptor._table_selection import choose_table
from hven.descriptor._yaml_text import format_flow_value, format_scalar
from hven.engines import load_engine_record
from hven.formats.hats_layout import is_web_address
from hven.model import Cache, Deviation, add_deviation, plugins
from hven.model.errors import ConflictError, SourceError, UsageError, UserError
from hven.model.sky import contours
from hven.model.table import Column
from hven.model.types import parse_type
from hven.sources import (
    AttributedSource,
    DescribedSource,
    DoubtfulTypesSource,
    GuessedOptionsSource,
    MetadataSource,
    RejectedRow,
    SampledSource,
    SelfDescribingSource,
    Source,
    SourceContext,
    file_kinds,
    remote_stores,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.descriptor._chain_codes import ChainCode
    from hven.model.settings import Settings

# the option that says which table is meant, of kinds that are no services
TABLE_OPTIONS = {
    "fits": "hdu",
    "product": "part",
    "sql": "table",
    "live": "table",
    "votable": "table",
    "fixed": "table",
}
MAX_ANSWER_CACHE_BYTES = (
    128 << 20
)  # bytes of what a service answered: it is looked at again for the key and for samples, and asked once
MAX_REMOTE_SAMPLED_ROWS = 20_000  # of a table that other programs work with, or that is elsewhere


def create_descriptor(
    settings: Settings,
    name: str,
    source: str,
    *,
    kind: str | None = None,
    table: str | None = None,
    standard: str | None = None,
    resolve_secret: Callable[[str], str] | None = None,
) -> Path:
    """Write ``collections/<name>/<name>.yaml`` from a file, a folder, a pattern of files, an address, or a database URL in a secret.

    Parameters
    ----------
    settings
        Of the site.
    name
        Of the collection.
    source
        A path from the current directory (of a folder: its files of the ending that most have), a pattern
        (``'images/*.fits'``), ``http(s)://...`` (downloaded into ``data/``; one that ends in ``/tap`` is a service,
        whose table is read there), or ``$NAME``.
    kind
        Of the source; None: it is guessed.
    table
        Which one of a file or database that has several: as the source's `table` or `hdu` says it.
    standard
        ``epn-tap`` or ``obscore``: the table is mapped to its columns, as far as can be guessed.
    resolve_secret
        Resolves ``$NAME``.

    Returns
    -------
    path
        Of the descriptor.

    Raises
    ------
    UserError
        A name that is none, a descriptor that exists, a source that cannot be read.
    ConflictError
        There is a descriptor already.
    UsageError
        The name cannot be one, or options exclude each other.
    """
    if not REGULAR_IDENTIFIER_PATTERN.fullmatch(name) or to_identifier(name) != name.lower():
        raise UsageError(
            f"{name!r} cannot be the name of a collection",
            remedy=f"letters, digits and _, no word of ADQL: {to_identifier(name, 'data')}",
        )
    directory = settings.collections_directory / name
    path = directory / f"{name}.yaml"
    if path.exists():
        raise ConflictError(f"{path} exists", remedy="edit it, or remove it first")
    creates_directory = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)  # paths that go up from it need it
    try:
        drafted = _draft_from_source(settings, name, source, kind, table, resolve_secret, standard)
        if isinstance(drafted, str):
            text = drafted
        else:
            text = write_checked_draft(drafted, path, settings)
        path.write_text(text, encoding="utf-8")
    except BaseException:
        if creates_directory and not any(directory.iterdir()):
            directory.rmdir()
        raise
    return path


def create_descriptor_for_paper(
    settings: Settings,
    name: str,
    source: str,
    papers: Sequence[str],
    *,
    licence: str | None = None,
    **create_options: Any,
) -> Path:
    """Write ``collections/<name>/<name>.yaml`` of what belongs to a paper, whose files are copied beside it.

    Parameters
    ----------
    settings, name
        As of `create_descriptor`.
    source
        The table, or the folder that has it: its other files become the collection's, a ReadMe of CDS or BibTeX says
        what it is.
    papers
        Their DOIs and bibcodes.
    licence
        Name of the licence, as its authors say.
    create_options
        As of `create_descriptor`.

    Returns
    -------
    path
        Of the descriptor.

    Raises
    ------
    UserError
        As of `create_descriptor`; an identifier that is none; no table, or several.
    ConflictError
        There is such a descriptor.
    """
    directory = settings.collections_directory / name
    _paper_drafts.parse_paper_identifiers(papers)
    if (directory / f"{name}.yaml").exists():
        raise ConflictError(f"{directory / name}.yaml exists", remedy="edit it, or remove it first")
    creates_directory = not directory.exists()
    try:
        table, files = _paper_drafts.copy_paper_files(directory, source)
        path = create_descriptor(settings, name, str(table), **create_options)
        path.write_text(
            _paper_drafts.add_paper_metadata(path.read_text("utf-8"), papers, files, table, licence), encoding="utf-8"
        )
    except BaseException:
        if creates_directory:
            shutil.rmtree(directory, ignore_errors=True)
        raise
    return path


def _draft_from_source(
    settings: Settings,
    name: str,
    source: str,
    kind: str | None,
    table: str | None,
    resolve_secret: Callable[[str], str] | None,
    standard: str | None,
) -> str | StandardDraft:
    """Find out what the source is, and draft."""
    directory = settings.collections_directory / name
    address, table_in_address = split_address(source)
    if source.startswith("$") or (address and not PASSWORD_PATTERN.search(source)):
        options: dict[str, Any] = {"url": address or source}
        kind = kind or "sql"
        table = table or table_in_address
        source_file: Path | None = None
    elif (
        kind is None
        and standard is None
        and (description := _read_service_description(settings, name, source, table, resolve_secret)) is not None
    ):
        return _table_descriptions.write_collection_descriptor(name, source, description)
    elif recognized_service := find_service(source, kind):
        kind, options = recognized_service
        source_file = None
    elif (
        kind in {None, "hats"}
        and (place := find_catalogue(settings, source, directory, is_certain=kind == "hats")) is not None
    ):
        kind = "hats"
        options = {"path": place}
        source_file = None
    elif re.match(r"[a-z][a-z0-9+]*://", source) and not source.startswith(("http://", "https://")):
        raise UsageError(
            "a database's address belongs into a secret: it often holds a password",
            remedy="put it into the environment and write --from '$NAME'",
        )
    else:
        if kind is None:
            source = _find_stac_collection_file(source)
        source_file, options = find_file(settings, source, directory)
        if (
            kind is None
            and (description := _read_file_description(settings, name, source_file, table, resolve_secret)) is not None
        ):
            if standard is None:
                return _table_descriptions.write_collection_descriptor(name, source, description)
            kind, options, table = *_select_described_source(description), None
        elif kind is None:
            # which says what it is, if it is no text
            if source_file.name.lower().endswith(remote_stores.ARCHIVE_EXTENSIONS):
                default_kind = "product"
            else:
                default_kind = "csv"
            kind = (
                file_kinds.find_kind_of_file(source_file)
                or file_kinds.find_kind_by_name(source_file.name)
                or default_kind
            )
        if kind == "sql":
            options = {"file": options["files"]}
        elif kind == "csv" and (readme := find_readme(source_file, directory, table)):
            kind = "fixed"
            options = {**options, **readme}
    if table is not None:
        service = file_kinds.find_service_signature(kind)
        key = service.table_option if service else TABLE_OPTIONS.get(kind)
        if not key:
            raise UsageError(f"a {kind} source has no tables to choose from", remedy="leave --table out")
        if table.isdigit() and kind not in {"sql", "live"} and not service:
            options[key] = int(table)
        else:
            options[key] = table
    if standard is not None:
        if kind == "live":
            raise UsageError(
                "a table that is published in place is not mapped to a standard by a guess",
                remedy="leave --live or --standard out",
            )
        return _draft_table(
            name, kind, options, directory, source, resolve_secret, standard, allow_private=settings.allow_private
        )
    return _draft_table(
        name,
        kind,
        options,
        directory,
        source,
        resolve_secret,
        None,
        allow_private=settings.allow_private,
        settings=settings,
    )


def _read_service_description(
    settings: Settings, name: str, source: str, table: str | None, resolve_secret: Callable[[str], str] | None
) -> _table_descriptions.TableSetDescription | None:
    """Ask a service for several tables at once."""
    if not source.startswith(("http://", "https://")):
        return None
    context = SourceContext(
        directory=settings.collections_directory / name,
        resolve_secret=resolve_secret,
        allow_private=settings.allow_private,
    )
    return _table_descriptions.read_service_description(
        _table_descriptions.DescriptionRequest(name=name, address=source, table=table, context=context)
    )


def _read_file_description(
    settings: Settings, name: str, path: Path, table: str | None, resolve_secret: Callable[[str], str] | None
) -> _table_descriptions.TableSetDescription | None:
    """Read a file that describes tables instead of holding one."""
    directory = settings.collections_directory / name
    context = SourceContext(
        directory=directory,
        resolve_secret=resolve_secret,
        allow_private=settings.allow_private,
        allowed_roots=settings.allowed_directories,
    )
    format_path = partial(format_descriptor_path, settings, directory)
    return _table_descriptions.read_description_file(
        _table_descriptions.DescriptionRequest(
            name=name,
            path=path,
            table=table,
            format_path=format_path,
            context=context,
        )
    )


def _find_stac_collection_file(source: str) -> str:
    """Name the STAC collection of a folder, which says where its items are and is none of them.

    Another folder stays as it is.
    """
    collection = Path.cwd() / Path(source).expanduser() / "collection.json"
    if "://" in source or not collection.is_file():
        return source
    if _table_descriptions.is_description(collection):
        return str(Path(source) / collection.name)
    return source


def _select_described_source(description: _table_descriptions.TableSetDescription) -> tuple[str, dict[str, Any]]:
    """Return kind and options of the one table that a description has."""
    sources = [dict(table.source) for table in description.tables if table.source]
    if len(sources) != 1:
        raise UsageError(
            f"the {description.kind} describes {len(sources)} tables with rows, and a standard is mapped from one",
            remedy="choose it with --table",
        )
    return str(sources[0].pop("kind")), sources[0]


def write_table_draft(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    directory: Path,
    *,
    origin: str | None = None,
    resolve_secret: Callable[[str], str] | None = None,
    allow_private: bool = False,
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
    resolve_secret
        Resolves ``$NAME``.
    allow_private
        Services that are not on the public internet may be asked.

    Returns
    -------
    str
        YAML that `descriptor.load_descriptor` accepts.

    Raises
    ------
    SourceError
        The source cannot be read with these options.
    UsageError
        It has several tables, and none was chosen.
    """
    table = _draft_table(name, kind, options, directory, origin, resolve_secret, None, allow_private=allow_private)
    return str(table)


def _draft_table(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    directory: Path,
    origin: str | None,
    resolve_secret: Callable[[str], str] | None,
    standard: str | None,
    *,
    allow_private: bool = False,
    settings: Settings | None = None,
) -> str | StandardDraft:
    """Look at the source, and write; or return what is needed to write it with a standard."""
    options = dict(options)
    module = plugins.load_plugin("sources", kind)
    rejected_rows: list[RejectedRow] = []
    deviations: list[Deviation] = []
    context = SourceContext(
        directory=directory,
        on_reject=rejected_rows.append,
        resolve_secret=resolve_secret,
        allow_private=allow_private,
        answer_cache=Cache(MAX_ANSWER_CACHE_BYTES),
        on_notice=lambda told: None if isinstance(told, str) else add_deviation(deviations, told),
    )
    guess_notes: list[str] = []
    if kind == "fixed" and not {"fields", "readme"} & set(options):
        options.update(module.guess_options(options, context))
        guess_notes = [
            (
                "fields were cut where the first lines are blank: two that touch are one here; give names, and cut "
                "what is several"
            )
        ]
    options, table_notes = choose_table(module, "sql" if kind == "live" else kind, options, context)
    database_facts = inspect_database_table(kind, options, context)
    if kind == "live":  # its rows are looked at, though they will not be copied
        module = plugins.load_plugin("sources", "sql")
    source, options = _open_source(module, kind, options, context)
    chain_code_columns = [
        source_column.name
        for source_column in source.list_columns()
        if source_column.name.upper() in contours.HFC_COLUMN_NAMES["chain"] and source_column.type.is_numeric
    ]
    if chain_code_columns and "types" in module.Options.model_fields:  # digits of a chain code are no number
        options = {**options, "types": {**options.get("types", {}), **dict.fromkeys(chain_code_columns, "string")}}
        source, options = _open_source(module, kind, options, context)
    guessed_options = source.list_guessed_options() if isinstance(source, GuessedOptionsSource) else {}
    if guessed_options:
        options = {**options, **guessed_options}
        guess_notes = [
            *guess_notes,
            "the record below the names holds units: they are taken, and it is no row (`units: true`)",
        ]
    is_live = kind == "live"
    if is_live and database_facts is not None:
        columns = database_facts.select_served_columns(source.list_columns())
    else:
        columns = source.list_columns()
    if not columns:
        raise SourceError(
            "the source has no columns, so there is nothing to publish", remedy="choose another table or file"
        )
    if isinstance(source, SelfDescribingSource):
        credited = source
    else:
        credited = None
    is_service = file_kinds.find_service_signature(kind) is not None
    is_paged = is_service and "key" in module.Options.model_fields
    is_remote = is_service or (credited is not None and is_web_address(str(options.get("path"))))
    samples_by_name, rows, complete = sample_columns(
        source, columns, MAX_REMOTE_SAMPLED_ROWS if is_live or is_remote else MAX_SAMPLED_ROWS
    )
    # a service may give less than it is asked for
    complete = complete and (not is_service or source.estimate_size() == rows)
    may_narrow = kind in {"csv", "fixed"}
    guesses = guess_columns(columns, samples_by_name, is_complete=complete, may_narrow=may_narrow)
    guesses = drop_card_positions(guesses, samples_by_name)
    if not is_live:  # as below: no index finds what each query computes
        guesses = convert_sexagesimal_pairs(guesses, samples_by_name)
    image_coverage = detect_image_coverage(kind, options, samples_by_name)
    options, notes = add_null_words(kind, options, guesses, samples_by_name)
    if isinstance(source, DoubtfulTypesSource):
        doubts = source.list_type_doubts()
    else:
        doubts = {}
    guesses = [
        replace(item, remark="; ".join(doubts[item.source]))
        if item.source in doubts
        and item.remark is None
        and item.expression in {None, quote_source_name(item.source)}
        and item.column.type.is_string
        else item
        for item in guesses
    ]
    deviation_notes = [f"{item}; {item.remedy}" if item.remedy else str(item) for item in deviations]
    notes = [*table_notes, *guess_notes, *list_outside_file_warnings(options), *deviation_notes, *notes]
    if rejected_rows:
        first_reject = rejected_rows[0]
        reject_place = f"row {first_reject.row}" + (f", column {first_reject.column}" if first_reject.column else "")
        notes.insert(
            0,
            f"{len(rejected_rows):,} rows cannot be read like this and would be refused, the first: "
            f"{reject_place}: {first_reject.reason}",
        )
    key: Sequence[ColumnGuess] = ()
    if database_facts is not None:
        key = database_facts.find_key_guesses(guesses)
        notes = [*notes, *database_facts.write_notes(guesses, is_live=is_live)]
    key_reason = ""
    if credited is not None and (key := _source_credits.find_key_guesses(credited, guesses)):
        if not complete:
            key_reason = "the catalogue has an index of it; nobody looked whether a value occurs twice"
        elif not is_unique(module, options, context, key[0], MAX_KEY_CHECK_ROWS):
            key = ()
    if (
        not key
        and not is_live
        and not (
            credited is not None
            and not complete
            and (is_remote or (credited.read_stated_row_count() or 0) > MAX_KEY_CHECK_ROWS)
        )
    ):
        if is_paged:
            found_key = find_remote_key(source, guesses, samples_by_name)
        else:
            found_key = find_key(
                module,
                options,
                context,
                guesses,
                samples_by_name,
                MAX_REMOTE_SAMPLED_ROWS if is_service else MAX_KEY_CHECK_ROWS,
            )
        if found_key is None:
            key = []
        else:
            key = [found_key]
        if is_paged and found_key is not None:  # rows are asked for page by page by it
            options = {**options, "key": found_key.source}
    position = _source_credits.find_position_columns(credited, guesses)
    if image_coverage is not None:
        guesses = add_footprint_columns(guesses, image_coverage)
    if not is_live and position is None:  # text that is put together at each query is found by no index
        guesses += convert_positions(guesses)
    position = position or find_sky_position(guesses)
    if position is None:
        body_position = find_body_position(guesses)
    else:
        body_position = None
    if body_position is not None and standard is None:
        notes = [*notes, describe_body_position(body_position)]
    if standard is not None or "cc" in {item.column.name for item in guesses}:
        sample = read_first_rows(module, options, context, columns)
    else:
        sample = {}
    if sample and standard is None and not is_live:
        chain = recognize_chain_code(collect_source_columns(guesses, sample))
    else:
        chain = None
    if chain is not None and chain.missing_parts:
        notes = [*notes, chain.remedy]
    elif chain is not None and "s_region" not in {item.column.name for item in guesses}:
        guesses.append(_propose_outline_column(chain))
    if isinstance(source, SampledSource):
        facts_of_samples = source.describe_samples()
    else:
        facts_of_samples = None
    series: list[str] = []
    if facts_of_samples is not None and isinstance(source, SampledSource):
        time_columns = [column for column in columns if column.name == facts_of_samples.time]
        times = read_first_rows(module, options, context, time_columns)
        series = propose_series(facts_of_samples, guesses, times[facts_of_samples.time], source.read_dataset_name())
        notes = [*notes, *describe_outliers(facts_of_samples, guesses, samples_by_name)]
    if isinstance(source, DescribedSource):
        title, description = source.read_title_and_description()
    else:
        title, description = (None, None)
    source_metadata = SourceMetadata(source.read_metadata() if isinstance(source, MetadataSource) else None, guesses)
    if isinstance(source, AttributedSource):
        credits_by_key = source.list_credits()
    else:
        credits_by_key = {}
    description = description or (database_facts.inspected_table.comment if database_facts is not None else None)
    if standard is not None:
        pair = position or body_position
        return StandardDraft(
            name=name,
            standard=find_full_standard_name(standard),
            kind=kind,
            options=options,
            guesses=guesses,
            sample=sample,
            key=key if rows > 1 else (),
            position=None if pair is None else (_find_guess(guesses, pair[0]), _find_guess(guesses, pair[1])),
            rows=rows,
            is_complete=complete,
            notes=notes,
            title=title,
            credits=credits_by_key,
            is_by_catalogue_builder=credited is not None,
            description=description,
            origin=origin or kind,
            source_metadata=source_metadata if kind == "tfcat" else None,
            image_coverage=image_coverage,
            source_text=" ".join([re.sub(r"[_\W\d]+", " ", text or "") for text in (origin, title, name, description)]),
        )
    return write_draft_descriptor(
        name,
        kind,
        options,
        guesses,
        position,
        key,
        key_reason,
        _source_credits.describe_row_count(credited, rows, is_complete=complete),
        notes,
        title,
        description,
        origin,
        source_metadata,
        [
            *_source_credits.write_head_lines(credits_by_key, by_builder=credited is not None),
            *([] if credited is None else _write_engine_lines(credited, settings)),
        ],
        series,
    )


def _write_engine_lines(credited: SelfDescribingSource, settings: Settings | None) -> list[str]:
    """Write which engine serves the files of a catalogue, unless all tables are its."""
    if settings is None or settings.engine == credited.engine:
        return []
    engine_record = load_engine_record(credited.engine)
    return _source_credits.write_engine_lines(credited, engine_record.lacks(settings))


def _find_guess(guesses: Sequence[ColumnGuess], name: str) -> ColumnGuess:
    return next(item for item in guesses if item.column.name == name)


def _open_source(
    module: Any, kind: str, options: dict[str, Any], context: SourceContext
) -> tuple[Source, dict[str, Any]]:
    """Open; a directory of images without tables becomes rows of header cards."""
    try:
        source: Source = module.open(module.Options.model_validate(options), context)
        source.list_columns()
    except ValidationError as error:
        first_error = error.errors()[0]
        error_path = ".".join(str(step) for step in first_error["loc"])
        raise UserError(
            f"source of kind {kind}: {error_path}: {first_error['msg']}"
            if error_path
            else f"source of kind {kind}: {first_error['msg']}"
        ) from error
    except SourceError as error:
        if kind == "fits" and not {"mode", "hdu"} & options.keys() and "no table" in error.message:
            return _open_source(module, kind, {**options, "mode": "header"}, context)
        if kind == "csv" and "is not UTF-8" in error.message and "encoding" not in options:
            return _open_source(module, kind, {**options, "encoding": "latin-1"}, context)
        raise
    return source, options


def _propose_outline_column(chain: ChainCode) -> ColumnGuess:
    """Propose a column of the regions of a chain code."""
    description = f"Outline of the region that {chain.columns[0].source} draws, Carrington's longitudes and latitudes"
    expression = chain.contour_template.format(image=chain.image_expression)
    column = Column(name="s_region", type=parse_type("polygon"), unit="deg", ucd="pos.outline", description=description)
    return ColumnGuess(
        source="",
        expression=expression,
        column=column,
        remark="guessed from a chain code as HFC's: the largest part of what has several; `hven new --standard "
        "epn-tap` has coverage, bounds and quality, too",
    )


__all__ = [
    "create_descriptor",
    "format_flow_value",
    "format_scalar",
    "move_connection_line_to_secrets",
    "write_table_draft",
]
