"""``hven compare``: compare schemas, for people and for continuous integration."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app.api import load_site_settings, open_site, print_json, print_table
from hven.model import plugins
from hven.model.errors import NotFoundError, ParamError, UsageError, UserError
from hven.plugins.schema_life.comparison_documents import comparison_to_json, write_unified_diff
from hven.plugins.schema_life.conflict_notes import NOTES_FILE, add_note, read_conflict_notes
from hven.plugins.schema_life.model_documents import is_model_address, read_model_file
from hven.plugins.schema_life.schema_comparison import (
    CONFLICT_KINDS,
    KINDS_BY_GROUPING,
    MISSING_KIND,
    check_grouping,
    compare_models,
)

if TYPE_CHECKING:
    from types import ModuleType

    from hven.model.settings import Settings
    from hven.plugins.schema_life.described_columns import ComparedSchema
    from hven.plugins.schema_life.schema_comparison import ColumnGroupConflict, SchemaComparison
    from hven.site import Site

DEFAULT_FAILING_KINDS = ("unit", "type", "ucd")
MAX_PRINTED_COLUMNS = 3  # of each value of a conflict


def compare(
    context: typer.Context,
    *,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Two or more schemas: a collection or table of the site, perhaps with a state as for `hven diff` "
            "(stars@R4), a descriptor, the address of a TAP service, a VOTable, VOSI tables, or a Felis schema. Hven "
            "compares a single schema's tables with each other.",
        ),
    ],
    grouping: Annotated[
        str, typer.Option("--group", metavar="WORD", help=f"Group columns by {', '.join(KINDS_BY_GROUPING)}.")
    ] = "name",
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on",
            metavar="KINDS",
            help=f"Exit with code 1 if there are differences of these kinds: {', '.join(CONFLICT_KINDS)}, "
            f"{MISSING_KIND}. Empty: never. Default: those of {', '.join(DEFAULT_FAILING_KINDS)} that the grouping "
            f"compares; for unit and type: {MISSING_KIND}.",
        ),
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Write the differences as a table, such as csv or votable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="With --format: write to this file.")
    ] = None,
    must_write_diff: Annotated[
        bool,
        typer.Option("--diff", help="Write a unified diff of two schemas, with a line for each column."),
    ] = False,
    accept: Annotated[
        str | None, typer.Option("--accept", metavar="ID", help="Accept this conflict from now on; needs --note.")
    ] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why the conflict is accepted.")] = "",
    notes_file: Annotated[
        Path | None,
        typer.Option("--notes", metavar="FILE", help=f"File with the notes (default: {NOTES_FILE} of the site)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Compare schemas of tables, drafts, services and files."""
    failing_kinds = _choose_failing_kinds(fail_on, grouping)
    if must_write_diff and len(dict.fromkeys(models)) != 2:
        raise UsageError("--diff needs exactly two schemas", remedy="name two schemas, or omit --diff")
    with ExitStack() as stack:
        _pause_garbage_collection(stack)
        reader = _ModelReader(context, stack)
        try:
            read_models = [reader.read_model(name) for name in dict.fromkeys(models)]
        except UserError as error:  # the exit code 1 says that schemas differ
            raise UsageError(error.message, place=error.place, remedy=error.remedy) from error
        if notes_file is None and reader.settings is not None:
            notes_file = reader.settings.directory / NOTES_FILE
        if accept is not None:
            if notes_file is None:
                raise UsageError("--accept needs a file for the note", remedy="add --notes FILE or --site DIR")
            add_note(notes_file, accept, note)
        notes = {}
        if notes_file is not None:
            notes = read_conflict_notes(notes_file)
        comparison = compare_models(read_models, grouping, notes)
        if as_json:
            print_json(comparison_to_json(comparison))
        elif must_write_diff:
            for line in write_unified_diff(*read_models):
                typer.echo(line)
        elif format_name is not None:
            _write_table(comparison, format_name, output)
        else:
            _print_comparison(comparison, lists_missing=MISSING_KIND in failing_kinds)
    if comparison.count_open_differences(failing_kinds):
        raise typer.Exit(1)


def _pause_garbage_collection(stack: ExitStack) -> None:
    """Leave out the rounds of the garbage collector: each visits all columns, and they take an eighth of the time."""
    if gc.isenabled():
        gc.disable()
        stack.callback(gc.enable)


def _choose_failing_kinds(text: str | None, grouping: str) -> list[str]:
    """Choose the kinds of differences for which the command fails, and refuse those that the grouping never has."""
    try:
        check_grouping(grouping)
    except ParamError as error:  # the exit code of conflicts is 1, that of wrong options 2
        raise UsageError(error.message, remedy=error.remedy) from error
    possible_kinds = (*KINDS_BY_GROUPING[grouping], MISSING_KIND)
    if text is None:
        return [kind for kind in DEFAULT_FAILING_KINDS if kind in possible_kinds] or [MISSING_KIND]
    kinds = [word.strip() for word in text.split(",") if word.strip()]
    unknown_kinds = set(kinds) - {*CONFLICT_KINDS, MISSING_KIND}
    if unknown_kinds:
        remedy = f"use {', '.join(CONFLICT_KINDS)} or {MISSING_KIND}"
        raise UsageError(f"{min(unknown_kinds)!r:.80} is not a kind of difference", remedy=remedy)
    for kind in kinds:
        if kind not in possible_kinds:
            message = (
                f"`--fail-on {kind}` would never fail: columns with the same {grouping} are not compared by {kind}"
            )
            other_kinds = " or ".join(possible_kinds)
            remedy = f"use --fail-on with {other_kinds}, or group by another word, for example `--group name`"
            raise UsageError(message, remedy=remedy)
    return kinds


class _ModelReader:
    """Reads models of the command line; it opens the site when a model needs it."""

    def __init__(self, context: typer.Context, stack: ExitStack) -> None:
        self._context = context
        self._stack = stack
        self._site: Site | None = None
        self.settings: Settings | None = None
        try:
            self.settings = load_site_settings(context)
        except UsageError:
            if context.obj is not None:  # --site names it
                raise

    def read_model(self, name: str) -> ComparedSchema:
        if is_model_address(name):  # the user typed it, so it may be in the institute
            model: ComparedSchema = _load("model_addresses").read_foreign_schema(name, allow_private=True)
            return model
        if Path(name).is_file():
            return read_model_file(Path(name), self.settings)
        try:
            if self._site is None:
                self._site = self._stack.enter_context(open_site(self._context))
            model = _load("published_models").describe_published_model(name, self._site)
        except NotFoundError:
            if self.settings is None or not self.settings.locate_descriptor(name).is_file():
                raise
            return read_model_file(self.settings.locate_descriptor(name), self.settings)
        return model


def _load(name: str) -> ModuleType:
    """Load a module of this package that only some comparisons need, because the imports take a second."""
    return plugins.import_hven_module(f"hven.plugins.schema_life.{name}", "hven compare")


def _write_table(comparison: SchemaComparison, format_name: str, output: Path | None) -> None:
    table_format, options = plugins.import_hven_module("hven.formats", "hven compare").select_format(format_name)
    chunks = _load("comparison_tables").write_differences(comparison, table_format, options)
    if output is None:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    with output.open("wb") as file:
        file.writelines(chunks)


def _print_comparison(comparison: SchemaComparison, *, lists_missing: bool) -> None:
    rows: list[tuple[str, ...]] = []
    for group in comparison.groups:
        if lists_missing and group.missing_count and comparison.lists_missing_models:
            missing_id = comparison.compute_missing_id(group)
            values = f"not in {', '.join(group.missing_models)}"
            rows.append((group.key, MISSING_KIND, values, missing_id, comparison.notes.get(missing_id, "")))
        rows += [
            (group.key, conflict.kind, _format_values(conflict), conflict.id, conflict.note)
            for conflict in group.conflicts
        ]
    print_table([comparison.grouping, "conflict", "values", "id", "note"], rows, title="Conflicts")
    keyed_groups = [group for group in comparison.groups if group.key]
    group_counts = Counter(label for group in keyed_groups for label in group.models)
    for model in comparison.models:
        missing_count = len(keyed_groups) - group_counts[model.label]
        line = f"{model.label}: {len(model.columns):,} columns"
        if missing_count:
            line += f"; {missing_count:,} {comparison.grouping}s of the other models are missing"
        typer.echo(line)


def _format_values(conflict: ColumnGroupConflict) -> str:
    texts = []
    for value in conflict.values:
        places = [column.place for column in value.columns[:MAX_PRINTED_COLUMNS]]
        if len(value.columns) > MAX_PRINTED_COLUMNS:
            places.append(f"{len(value.columns) - MAX_PRINTED_COLUMNS:,} more")
        texts.append(f"{value.text or 'none'} ({', '.join(places)})")
    text = " / ".join(texts)
    if conflict.is_convertible:
        text += ", convertible"
    return text
