"""The key ``submissions`` of tables in descriptors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.descriptor.api.keys import KeyReferenceSection, TableDescriptorKey
from hven.model.errors import Fault
from hven.plugins.entries.entry_forms import is_column_copy
from hven.plugins.push import PUSH_SOURCE_KIND
from hven.plugins.submissions.submission_section_keys import SubmissionsSection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.descriptor.api.keys import QueryColumnFinder, TableDescriptorKeyValue
    from hven.model.resource import CollectionSpec

SUBMISSIONS_KEY = "submissions"
DEFAULT_FOLDER = "submitted"
DEFAULT_FILE_KIND = "fits"
_FOLDER_PATTERN = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_EXAMPLE = """\
submissions:
  path: path
  sha256: sha256
  to: submitted
  files: oifits
  profile: strict
  submitters: [observers]
  moderated: true
  errors: block
  level: calib_level
  warnings: note
  values: {night: date_obs}
  shared: [obs_collection, calib_level]
  identity: [target_name, instrument_mode, night]
  version: version
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRules:
    """How a table takes submissions; the attributes are the keys of `SubmissionsSection`."""

    path: str = ""
    sha256: str = ""
    to: str = DEFAULT_FOLDER
    files: str = DEFAULT_FILE_KIND
    profile: str = "jmmc"
    values: Mapping[str, str] = field(default_factory=dict)
    submitters: frozenset[str] = frozenset()
    moderated: bool = False
    errors: str = "block"
    level: str = ""
    warnings: str = "note"
    shared: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    version: str = ""

    def list_computed_columns(self) -> list[str]:
        """List the columns that Hven fills, so that nobody enters their values."""
        return list(filter(None, (self.path, self.sha256, self.version)))


def _read_submission_rules(key_value: TableDescriptorKeyValue) -> SubmissionRules:
    fields = dict(key_value.value)
    for name in ("path", "sha256", "to", "files", "profile", "errors", "level", "warnings", "version"):
        if name in fields:
            fields[name] = str(fields[name])
    for name in ("shared", "identity"):
        fields[name] = tuple(str(column) for column in fields.get(name, ()))
    fields["submitters"] = frozenset(str(name) for name in fields.get("submitters", ()))
    fields["values"] = {str(column): str(name) for column, name in fields.get("values", {}).items()}
    fields["moderated"] = bool(fields.get("moderated", False))
    rules = SubmissionRules(**fields)
    if not _FOLDER_PATTERN.fullmatch(rules.to):
        key_value.faults.add_error(
            f"{key_value.key_path}.to: {rules.to!r} is not a folder beside the descriptor",
            key_value.value.place,
            "write a name such as `submitted`",
        )
    return rules


def _find_submission_faults(resource: CollectionSpec, _: QueryColumnFinder) -> Iterator[Fault]:
    """Find tables into which no rows can be written, and columns that the table does not take."""
    for spec in resource.tables:
        rules: SubmissionRules | None = spec.table.extensions.get(SUBMISSIONS_KEY)
        if rules is None:
            continue
        key_path = f"tables.{spec.table.name}.submissions"
        source = next((source for source in spec.sources if source.kind == PUSH_SOURCE_KIND), None)
        if source is None:
            message = f"{key_path}: Hven cannot publish submissions without a source `push`"
            remedy = "add `source: {kind: push, columns: ..., writers: [MODERATORS]}` to the table"
            yield Fault(message=message, place=spec.place, remedy=remedy)
            continue
        columns = source.options.get("columns") or {}
        if bool(rules.path) != bool(rules.sha256):
            message = f"{key_path}: `path` and `sha256` belong together"
            yield Fault(message=message, place=spec.place, remedy="give both, or neither if users submit only rows")
        used_columns = [*rules.list_computed_columns(), *rules.values, *rules.shared, *rules.identity]
        if rules.level:
            used_columns.append(rules.level)
        for name in dict.fromkeys(used_columns):
            if name not in columns:
                message = f"{key_path}: the source `push` has no column {name!r}"
                yield Fault(message=message, place=spec.place, remedy=f"use one of {', '.join(map(str, columns))}")
        mapped_names = {mapping.column for mapping in spec.settings if not is_column_copy(mapping)}
        for name in mapped_names.intersection(rules.identity):
            message = f"{key_path}.identity: {name!r} has a mapping, so published rows never have the submitted value"
            yield Fault(message=message, place=spec.place, remedy="choose columns that have the submitted values")


SUBMISSIONS = TableDescriptorKey(
    value_type=SubmissionsSection,
    doc="files that users submit: Hven checks the files, and users complete the files' rows",
    convert_value=_read_submission_rules,
    previous_key="comments",
    find_faults=_find_submission_faults,
    reference_sections=(
        KeyReferenceSection("table submissions", "table", keys="submissions", shown_in="submissions"),
        KeyReferenceSection("submissions", "submissions", example=_EXAMPLE),
    ),
)
