"""The keys ``entries`` and ``comments`` of tables in descriptors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.keys import KeyReferenceSection, TableDescriptorKey
from hven.model.errors import Fault, TextPlace
from hven.plugins.entries.entry_section_keys import CommentsSection, EntriesSection
from hven.plugins.push import PUSH_SOURCE_KIND

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hven.descriptor.api.keys import QueryColumnFinder, TableDescriptorKeyValue
    from hven.descriptor.value_schema import FaultCollector
    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.site.auth import Principal

ENTRIES_KEY, COMMENTS_KEY = "entries", "comments"
_ENTRIES_EXAMPLE = "entries: {submitters: [observers], warnings: block, reason: required, history: public}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRules:
    """Rules for the entries of a table.

    Attributes
    ----------
    submitters
        Accounts and groups that may propose rows; empty: all accounts that see the table.
    are_warnings_blocking
        Whether warnings block a submission.
    is_reason_required
        Whether a submission and its acceptance need a reason, as a refusal does.
    is_history_public
        Whether everybody who sees a row sees its versions.
    """

    submitters: frozenset[str] = frozenset()
    are_warnings_blocking: bool = False
    is_reason_required: bool = False
    is_history_public: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentRules:
    """Rules for the comments on the rows of a table.

    Attributes
    ----------
    authors
        Accounts and groups that may write comments; empty: all accounts that see the row.
    moderators
        Accounts and groups that decide; empty: those who may edit the texts of the collection.
    place
        Place in the descriptor.
    """

    authors: frozenset[str] = frozenset()
    moderators: frozenset[str] = frozenset()
    place: TextPlace = field(default=TextPlace(), compare=False, repr=False)


def is_listed(principal: Principal, names: Collection[str]) -> bool:
    """Return whether a list of accounts and groups names a user.

    Parameters
    ----------
    principal
        The user; a user without an account is never listed.
    names
        Accounts and groups.
    """
    return principal.name is not None and (principal.name in names or not principal.groups.isdisjoint(names))


def _read_names(fields: Any, key: str) -> frozenset[str]:
    return frozenset(str(name) for name in fields.get(key, ()))


def _read_entry_rules(key_value: TableDescriptorKeyValue) -> EntryRules:
    fields = key_value.value
    return EntryRules(
        submitters=_read_names(fields, "submitters"),
        are_warnings_blocking=fields.get("warnings") == "block",
        is_reason_required=fields.get("reason") == "required",
        is_history_public=fields.get("history") == "public",
    )


def _read_comment_rules(key_value: TableDescriptorKeyValue) -> CommentRules:
    fields = key_value.value
    return CommentRules(
        authors=_read_names(fields, "authors"), moderators=_read_names(fields, "moderators"), place=fields.place
    )


def _find_entry_faults(resource: CollectionSpec, _: QueryColumnFinder) -> Iterator[Fault]:
    """Find tables with ``entries`` into which no rows can be written."""
    for spec in resource.tables:
        has_key = ENTRIES_KEY in spec.table.extensions
        if has_key and all(source.kind != PUSH_SOURCE_KIND for source in spec.sources):
            message = f"tables.{spec.table.name}.entries: Hven cannot publish entries without a source `push`"
            remedy = "add `source: {kind: push, columns: ..., writers: [MODERATORS]}` to the table"
            yield Fault(message=message, place=spec.place, remedy=remedy)


def _check_key_of_commented_table(key_path: str, table: Table, faults: FaultCollector) -> None:
    if not table.primary:
        message = f"{key_path}: the table has no primary key, so users cannot comment on its rows"
        faults.add_error(message, table.extensions[COMMENTS_KEY].place, "add `primary` to the table")


ENTRIES = TableDescriptorKey(
    value_type=EntriesSection,
    doc="rows that users propose in forms, and that appear when a moderator accepts them",
    convert_value=_read_entry_rules,
    previous_key="endpoints",
    find_faults=_find_entry_faults,
    reference_sections=(
        KeyReferenceSection("table entries", "table", keys="entries", shown_in="entries"),
        KeyReferenceSection("entries", "entries", example=_ENTRIES_EXAMPLE),
    ),
)
COMMENTS = TableDescriptorKey(
    value_type=CommentsSection,
    doc="comments on rows, and reports of errors. Both appear when a moderator accepts them",
    convert_value=_read_comment_rules,
    previous_key="entries",
    check_table=_check_key_of_commented_table,
    reference_sections=(
        KeyReferenceSection("table comments", "table", keys="comments", shown_in="comments"),
        KeyReferenceSection("comments", "comments", example="comments: {authors: [observers], moderators: [anna]}\n"),
    ),
)
