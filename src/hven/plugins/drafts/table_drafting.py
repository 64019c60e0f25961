"""Look at the rows of a source, and draft a descriptor with one table from what they show."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import ValidationError

from hven.descriptor.api.hfc_columns import HFC_COLUMN_NAMES
from hven.descriptor.api.key_proposals import ColumnGuess, InspectedSource, load_package_table_keys, quote_source_name
from hven.engines import load_engine_record
from hven.formats import TableMetadata
from hven.model import LruCache, ReadDeviation, add_deviation, plugins
from hven.model.errors import SourceError, UserError
from hven.model.table import MJD_EPOCH, Column, ReferenceFrame, Table, set_column_epochs
from hven.model.types import parse_type
from hven.plugins.drafts import database_tables, source_credits
from hven.plugins.drafts.chain_codes import recognize_chain_code
from hven.plugins.drafts.column_guesses import ColumnSampleStatistics, guess_columns
from hven.plugins.drafts.draft_text import TableDescriptorDraft
from hven.plugins.drafts.image_guesses import detect_image_coverage, drop_card_position_ucds, with_footprint_columns
from hven.plugins.drafts.position_guesses import (
    build_position_column_guesses,
    convert_sexagesimal_pair_guesses,
    find_body_position_columns,
    find_sky_position_columns,
    write_body_position_note,
)
from hven.plugins.drafts.source_discovery import is_web_address, list_outside_file_warnings
from hven.plugins.drafts.source_facts import collect_source_columns
from hven.plugins.drafts.source_metadata import SourceMetadata
from hven.plugins.drafts.source_samples import (
    MAX_KEY_CHECK_ROWS,
    MAX_SAMPLED_ROWS,
    add_null_word_options,
    find_key_column,
    find_remote_key_column,
    is_unique_column,
    read_first_rows,
    sample_columns,
)
from hven.plugins.drafts.standard_drafts import StandardTableDraft, find_full_standard_name
from hven.plugins.drafts.table_selection import choose_source_table
from hven.sources import (
    CreditedSource,
    DoubtfulTypesSource,
    GeoFeatureSource,
    GuessedOptionsSource,
    MetadataSource,
    RejectedRow,
    SelfDescribingSource,
    Source,
    SourceContext,
    SourceWithDescription,
    file_kinds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from hven.model.settings import Settings
    from hven.plugins.drafts.chain_codes import ChainCode

# bytes of answers of a service: its rows are read again for the key and for samples, and are asked for once
MAX_ANSWER_CACHE_BYTES = 128 << 20
MAX_REMOTE_SAMPLED_ROWS = 20_000  # rows that are read of a service, or of a table that other programs work with

_MJD_FRAME = ReferenceFrame(id="mjd", kind="timesys", timeorigin="MJD-origin")


@runtime_checkable
class _DeclaredTypesSource(Protocol):
    """A source of text whose header or options can declare types."""

    def list_declared_types(self) -> dict[str, object]:
        """Return the declared types, by column."""


class TableDrafter:
    """Looks at a source, and drafts a descriptor with one table of it.

    Parameters
    ----------
    name
        Name of the collection.
    kind
        Kind of the source.
    options
        Options of the source as the descriptor has them; paths are relative to `directory`.
    directory
        Directory of the descriptor.
    origin
        Source as the curator gave it, for the first comment.
    resolve_secret
        Resolves ``$NAME``.
    allow_private
        Whether services that are not on the public internet may be asked.
    settings
        Settings of the site, if there is one.
    """

    def __init__(
        self,
        *,
        name: str,
        kind: str,
        options: Mapping[str, Any],
        directory: Path,
        origin: str | None,
        resolve_secret: Callable[[str], str] | None,
        allow_private: bool,
        settings: Settings | None = None,
    ) -> None:
        self._name = name
        self._kind = kind
        self._options = dict(options)
        self._origin = origin
        self._settings = settings
        self._copying_kind = kind
        signature = file_kinds.find_database_signature(kind)
        if signature is not None and signature.copying_kind:
            self._copying_kind = signature.copying_kind
        self._is_live = self._copying_kind != kind
        self._is_service = file_kinds.find_service_signature(kind) is not None
        self._rejected_rows: list[RejectedRow] = []
        self._deviations: list[ReadDeviation] = []
        self._notes: list[str] = []
        self._context = SourceContext(
            directory=directory,
            on_reject=self._rejected_rows.append,
            resolve_secret=resolve_secret,
            allow_private=allow_private,
            answer_cache=LruCache(MAX_ANSWER_CACHE_BYTES),
            on_notice=self._record_deviation_notice,
            is_inspection=True,
        )
        self._choose_and_open_table()
        self._credited: SelfDescribingSource | None = None
        if isinstance(self._source, SelfDescribingSource):
            self._credited = self._source
        self._columns = self._list_columns()
        self._is_remote = self._is_service
        catalogue = file_kinds.find_catalogue_signature(kind)
        if catalogue is not None and is_web_address(str(self._options.get(catalogue.option))):
            self._is_remote = True
        self._sample_rows()
        self._guess_columns()
        self._collect_table_notes()

    def write_descriptor(self) -> str:
        """Write the descriptor of the table as it is."""
        key, key_reason = self._find_key_and_reason()
        position, body_position = self._add_and_find_position_columns()
        if body_position is not None:
            self._notes.append(write_body_position_note(body_position))
        if "cc" in {guess.column.name for guess in self._guesses}:
            self._add_outline_column(self._read_first_rows(self._columns))
        key_lines = self._write_package_key_lines()
        title, description = self._read_title_and_description()
        credits_by_key = self._list_credits()
        head_lines = source_credits.write_credit_head_lines(
            credits_by_key, has_builder_names=self._credited is not None
        )
        if self._credited is not None:
            head_lines += _write_engine_lines(self._credited, self._settings)
        draft = TableDescriptorDraft(
            name=self._name,
            kind=self._kind,
            options=self._options,
            guesses=self._guesses,
            position=position,
            key=key,
            key_reason=key_reason,
            row_count_line=source_credits.write_row_count_comment(
                self._credited, self._row_count, is_complete=self._is_complete
            ),
            notes=self._notes,
            title=title,
            description=description,
            origin=self._origin,
            source_metadata=self._read_source_metadata(),
            head_lines=head_lines,
            key_lines=key_lines,
        )
        return draft.write_descriptor()

    def build_standard_draft(self, standard: str) -> StandardTableDraft:
        """Collect what is needed to write the table of a standard."""
        key, _ = self._find_key_and_reason()
        if self._row_count <= 1:
            key = ()
        position, body_position = self._add_and_find_position_columns()
        position = position or body_position
        position_guesses = None
        if position is not None:
            longitude, latitude = position
            position_guesses = (self._find_guess(longitude), self._find_guess(latitude))
        sample = self._read_first_rows(self._columns)
        self._write_package_key_lines()
        title, description = self._read_title_and_description()
        source_metadata = feature_source = None
        if isinstance(self._source, GeoFeatureSource):
            feature_source = self._source
            source_metadata = self._read_source_metadata()
        source_texts = [re.sub(r"[_\W\d]+", " ", text or "") for text in (self._origin, title, self._name, description)]
        return StandardTableDraft(
            name=self._name,
            standard=find_full_standard_name(standard),
            kind=self._kind,
            options=self._options,
            guesses=self._guesses,
            sample=sample,
            key=key,
            position=position_guesses,
            rows=self._row_count,
            is_complete=self._is_complete,
            notes=self._notes,
            title=title,
            credits=self._list_credits(),
            is_by_catalogue_builder=self._credited is not None,
            description=description,
            origin=self._origin or self._kind,
            source_metadata=source_metadata,
            feature_source=feature_source,
            image_coverage=self._image_coverage,
            source_text=" ".join(source_texts),
        )

    def _record_deviation_notice(self, notice: str | ReadDeviation) -> None:
        if not isinstance(notice, str):
            add_deviation(self._deviations, notice)

    def _choose_and_open_table(self) -> None:
        """Choose the table, and open the source with all options that can be guessed."""
        self._module = plugins.load_plugin("sources", self._kind)
        guess_notes = []
        if self._kind == "fixed" and not {"fields", "readme"} & self._options.keys():
            self._options.update(self._module.guess_fixed_width_options(self._options, self._context))
            guess_notes.append(
                "Hven split all lines at the positions where the first lines have spaces. It reads fields without "
                "a space between them as one field; split such fields, and name all fields"
            )
        self._options, self._notes = choose_source_table(self._module, self._kind, self._options, self._context)
        self._database_facts = database_tables.inspect_database_table(self._kind, self._options, self._context)
        if self._is_live:  # its rows are looked at, though they will not be copied
            self._module = plugins.load_plugin("sources", self._copying_kind)
        self._source, self._options = self._open_source()
        if self._kind == "fits" and not {"mode", "hdu"} & self._options.keys():
            header_options = {**self._options, "mode": "header"}
            if _has_image(self._module, header_options, self._context):
                self._notes.append("the file has an image, too: --table 0 makes a row for each image, from its header")
        self._keep_chain_codes_as_text()
        if isinstance(self._source, GuessedOptionsSource):
            guessed_options = self._source.list_guessed_options()
            if guessed_options:
                self._options = {**self._options, **guessed_options}
            if guessed_options.get("units"):
                guess_notes.append(
                    "the record below the names contains units; Hven uses them, and does not read the record as "
                    "a row (`units: true`)"
                )
        self._notes += guess_notes

    def _open_source(self) -> tuple[Source, dict[str, Any]]:
        return _open_source(self._module, self._kind, self._options, self._context)

    def _keep_chain_codes_as_text(self) -> None:
        """Open the source again if it takes the digits of a chain code for a number."""
        chain_code_names = HFC_COLUMN_NAMES["chain"]
        chain_code_columns = [
            column.name
            for column in self._source.list_columns()
            if column.name.upper() in chain_code_names and column.type.is_numeric
        ]
        if chain_code_columns and "types" in self._module.Options.model_fields:
            types = {**self._options.get("types", {}), **dict.fromkeys(chain_code_columns, "string")}
            self._options = {**self._options, "types": types}
            self._source, self._options = self._open_source()

    def _list_columns(self) -> Sequence[Column]:
        columns: Sequence[Column] = self._source.list_columns()
        if self._is_live and self._database_facts is not None:
            served_names = {column.name for column in columns}
            columns = [column for column in self._database_facts.columns if column.name in served_names]
        if not columns:
            raise SourceError(
                "the source has no columns, so there is nothing to publish", remedy="choose another table or file"
            )
        return columns

    def _sample_rows(self) -> None:
        row_limit = MAX_SAMPLED_ROWS
        if self._is_live or self._is_remote:
            row_limit = MAX_REMOTE_SAMPLED_ROWS
        self._samples_by_name, self._row_count, is_complete = sample_columns(self._source, self._columns, row_limit)
        # a service may give less than it is asked for
        if is_complete and self._is_service:
            is_complete = self._source.estimate_progress_total() == self._row_count
        self._is_complete = is_complete

    def _guess_columns(self) -> None:
        samples = self._samples_by_name
        narrowable_names = set()
        if self._kind in {"csv", "fixed"}:
            narrowable_names = {column.name for column in self._columns}
        if isinstance(self._source, _DeclaredTypesSource):
            narrowable_names -= self._source.list_declared_types().keys()
        guesses = guess_columns(
            self._columns, samples, is_complete=self._is_complete, narrowable_names=narrowable_names
        )
        guesses = drop_card_position_ucds(guesses, samples)
        if not self._is_live:  # no index finds what each query computes
            guesses = convert_sexagesimal_pair_guesses(guesses, samples)
        self._image_coverage = detect_image_coverage(self._kind, self._options, samples)
        self._options, self._null_notes = add_null_word_options(self._kind, self._options, guesses, samples)
        self._guesses = self._with_type_doubts([self._add_time_origin(guess) for guess in guesses])

    def _add_time_origin(self, guess: ColumnGuess) -> ColumnGuess:
        """Give times that the source counts from MJD 0 a frame, if their range alone does not tell this."""
        column = guess.column
        if column.epoch != MJD_EPOCH or column.frame is not None:
            return guess
        sample = self._samples_by_name.get(guess.source, ColumnSampleStatistics())
        extremes = {"minimum": sample.minimum, "maximum": sample.maximum}
        table = Table(schema="", name="", columns=(column.copy_with(epoch=None),))
        (guessed_column,) = set_column_epochs(table, {column.name: extremes}).columns
        if guessed_column.epoch == MJD_EPOCH:
            return guess
        return replace(guess, column=column.copy_with(frame=_MJD_FRAME.id))

    def _with_type_doubts(self, guesses: Sequence[ColumnGuess]) -> list[ColumnGuess]:
        """Add the source's own doubts to the columns that are taken as text for them."""
        if not isinstance(self._source, DoubtfulTypesSource):
            return list(guesses)
        doubts = self._source.list_type_doubts()
        doubtful_guesses = []
        for guess in guesses:
            is_unchanged = guess.expression in {None, quote_source_name(guess.source)}
            if guess.source in doubts and guess.remark is None and is_unchanged and guess.column.type.is_string:
                guess = replace(guess, remark="; ".join(doubts[guess.source]))  # noqa: PLW2901
            doubtful_guesses.append(guess)
        return doubtful_guesses

    def _collect_table_notes(self) -> None:
        """Write the notes for the head of the table: rejected rows come first."""
        self._notes += list_outside_file_warnings(self._options)
        for deviation in self._deviations:
            self._notes.append(f"{deviation}; {deviation.remedy}" if deviation.remedy else str(deviation))
        self._notes += self._null_notes
        if self._rejected_rows:
            first_reject = self._rejected_rows[0]
            reject_place = f"row {first_reject.row}"
            if first_reject.column:
                reject_place += f", column {first_reject.column}"
            reject_note = (
                f"{len(self._rejected_rows):,} rows cannot be read in this way and would be rejected; the first is "
                f"{reject_place}: {first_reject.reason}"
            )
            self._notes.insert(0, reject_note)
        if self._database_facts is not None:
            self._notes += database_tables.write_draft_notes(self._database_facts, self._guesses, is_live=self._is_live)

    def _find_key_and_reason(self) -> tuple[Sequence[ColumnGuess], str]:
        """Find the columns whose values name a row, and the reason to take them."""
        key: Sequence[ColumnGuess] = ()
        key_reason = ""
        if self._database_facts is not None:
            key = database_tables.find_key_guesses(self._database_facts, self._guesses)
        if self._credited is not None:
            credited_key = source_credits.find_key_guesses(self._credited, self._guesses)
            if credited_key and not self._is_complete:
                key_reason = (
                    "the catalogue has an index on this column; Hven did not check whether a value occurs twice"
                )
            elif credited_key and not is_unique_column(
                self._module, self._options, self._context, credited_key[0], row_limit=MAX_KEY_CHECK_ROWS
            ):
                credited_key = []
            key = credited_key
        if key or self._is_live or self._is_too_large_to_search_for_key():
            return key, key_reason
        return self._search_for_key_and_set_option(), key_reason

    def _is_too_large_to_search_for_key(self) -> bool:
        """Return whether a catalogue is remote or has more rows than are read for a key."""
        if self._credited is None or self._is_complete:
            return False
        stated_row_count = self._credited.read_stated_row_count() or 0
        return self._is_remote or stated_row_count > MAX_KEY_CHECK_ROWS

    def _search_for_key_and_set_option(self) -> list[ColumnGuess]:
        is_paged = self._is_service and "key" in self._module.Options.model_fields
        if is_paged:
            key_guess = find_remote_key_column(self._source, self._guesses, self._samples_by_name)
        else:
            key_guess = find_key_column(
                self._module,
                self._options,
                self._context,
                self._guesses,
                self._samples_by_name,
                row_limit=MAX_REMOTE_SAMPLED_ROWS if self._is_service else MAX_KEY_CHECK_ROWS,
            )
        if key_guess is None:
            return []
        if is_paged:  # rows are asked for page by page by it
            self._options = {**self._options, "key": key_guess.source}
        return [key_guess]

    def _add_and_find_position_columns(self) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
        """Find the columns of the position on the sky; if there are none, those of a position on a body."""
        position = source_credits.find_position_columns(self._credited, self._guesses)
        if self._image_coverage is not None:
            self._guesses = with_footprint_columns(self._guesses, self._image_coverage)
        if not self._is_live and position is None:  # no index finds text that each query puts together
            self._guesses += build_position_column_guesses(self._guesses)
        position = position or find_sky_position_columns(self._guesses)
        body_position = None
        if position is None:
            body_position = find_body_position_columns(self._guesses)
        return position, body_position

    def _read_first_rows(self, columns: Sequence[Column]) -> dict[str, pa.Array]:
        return read_first_rows(self._module, self._options, self._context, columns)

    def _add_outline_column(self, sample: Mapping[str, pa.Array]) -> None:
        """Add the regions that a chain code draws, or a note of what is missing for them."""
        if not sample or self._is_live:
            return
        chain = recognize_chain_code(collect_source_columns(self._guesses, sample))
        if chain is None:
            return
        if chain.missing_parts:
            self._notes.append(chain.remedy)
        elif "s_region" not in {guess.column.name for guess in self._guesses}:
            self._guesses.append(_propose_outline_column(chain))

    def _write_package_key_lines(self) -> list[str]:
        """Write the keys that packages propose, and note what they say."""
        inspected_source = InspectedSource(
            source=self._source,
            columns=self._columns,
            guesses=self._guesses,
            read_first_rows=self._read_first_rows,
            samples_by_name=self._samples_by_name,
        )
        lines: list[str] = []
        for key in load_package_table_keys().values():
            if key.propose is not None:
                proposal = key.propose(inspected_source)
                lines += proposal.lines
                self._notes += proposal.notes
        return lines

    def _read_title_and_description(self) -> tuple[str | None, str | None]:
        title, description = None, None
        if isinstance(self._source, SourceWithDescription):
            title, description = self._source.read_title_and_description()
        if not description and self._database_facts is not None:
            description = self._database_facts.comment
        return title, description

    def _read_source_metadata(self) -> SourceMetadata:
        table_metadata = None
        if isinstance(self._source, MetadataSource):
            table_metadata = self._source.read_metadata()
        elif any(guess.column.frame == _MJD_FRAME.id for guess in self._guesses):
            table_metadata = TableMetadata(columns=self._columns, frames=(_MJD_FRAME,))
        return SourceMetadata(table_metadata, self._guesses)

    def _list_credits(self) -> Mapping[str, str]:
        if isinstance(self._source, CreditedSource):
            return self._source.list_credits()
        return {}

    def _find_guess(self, name: str) -> ColumnGuess:
        return next(guess for guess in self._guesses if guess.column.name == name)


def _open_source(
    module: Any, kind: str, options: dict[str, Any], context: SourceContext
) -> tuple[Source, dict[str, Any]]:
    """Open a source; images without tables become rows of header cards, and other encodings of text are tried."""
    try:
        source: Source = module.open(module.Options.model_validate(options), context)
        source.list_columns()
    except ValidationError as error:
        first_error = error.errors()[0]
        option_path = ".".join(str(step) for step in first_error["loc"])
        message = f"source of kind {kind}: {first_error['msg']}"
        if option_path:
            message = f"source of kind {kind}: {option_path}: {first_error['msg']}"
        raise UserError(message) from error
    except SourceError as error:
        if kind == "fits" and "mode" not in options and "no table" in error.message:
            header_options = {**options, "mode": "header"}
            has_image = _has_image(module, header_options, context)
            if not has_image and "hdu" not in options:  # the header of the primary HDU says little
                header_options["hdu"] = [0, 1]
            if has_image or "hdu" not in options:
                return _open_source(module, kind, header_options, context)
        if kind == "csv" and "encoding" not in options:
            if "is not UTF-8" in error.message:
                return _open_source(module, kind, {**options, "encoding": "latin-1"}, context)
            encoding_match = re.search(r"`encoding: (utf-16[a-z-]*)`", error.remedy or "")
            if encoding_match:
                return _open_source(module, kind, {**options, "encoding": encoding_match.group(1)}, context)
        raise
    return source, options


def _has_image(module: Any, header_options: dict[str, Any], context: SourceContext) -> bool:
    """Return whether the primary HDU of the first FITS file, or the chosen one, has an image."""
    options = module.Options.model_validate({**header_options, "cards": ["NAXIS"]})
    with suppress(SourceError):
        for batch in module.open(options, context).read_batches(["NAXIS"], 1):
            return bool(batch.column(0)[0].as_py())
    return "hdu" not in header_options  # if an HDU is chosen, the error about tables names those of the file


def _write_engine_lines(credited: SelfDescribingSource, settings: Settings | None) -> list[str]:
    """Write which engine serves the files of a catalogue, unless it is the engine of all tables."""
    if settings is None or settings.engine == credited.engine:
        return []
    engine_record = load_engine_record(credited.engine)
    return source_credits.write_engine_lines(credited, engine_record.lacks(settings), engine_record.remedy)


def _propose_outline_column(chain: ChainCode) -> ColumnGuess:
    """Propose a column of the regions of a chain code."""
    code_column = chain.columns[0].source
    description = f"Outline of the region that {code_column} describes, in Carrington longitudes and latitudes"
    expression = chain.contour_template.format(image=chain.image_expression)
    column = Column(name="s_region", type=parse_type("polygon"), unit="deg", ucd="pos.outline", description=description)
    return ColumnGuess(
        source="",
        expression=expression,
        column=column,
        remark=(
            "guessed from a chain code like HFC's; if a region has several parts, only the largest is kept; `hven "
            "new --standard epn-tap` also adds coverage, bounds and quality"
        ),
    )
