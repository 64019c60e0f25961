"""Read ``access`` of a collection or a table: who may see its rows, its files, and take copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql import check_row_policy, decide_policy_for_everybody
from hven.descriptor._column_expressions import parse_expression_with_depth_limit
from hven.model.errors import QueryError, suggest_spelling
from hven.model.table import RowAccessPolicy

if TYPE_CHECKING:
    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues
    from hven.descriptor.written_yaml import LocatedYamlScalar


def read_access_policy(
    access_fields: LocatedKeyValues | None, key_path: str, faults: FaultCollector, contact: str | None = None
) -> tuple[str, RowAccessPolicy | None]:
    """Read ``access``: ``public``, ``private``, ``members``, or conditions for the levels of a visible table.

    Parameters
    ----------
    access_fields
        Value of ``access`` as written; None: nothing was written.
    key_path
        Path of the key, for messages.
    faults
        Collects the faults.
    contact
        Contact for locked rows where ``access`` names none.

    Returns
    -------
    access
        ``public``, ``members`` or ``private``. It is ``private`` if a policy cannot be read.
    policy
        Conditions of the levels. None: every user who sees the table sees all of it.
    """
    if access_fields is None:
        return "public", None
    if access_fields.get("rows") in {"private", "members"}:
        return str(access_fields["rows"]), None
    conditions = {}
    for level in ("rows", "files", "take"):
        condition = access_fields.get(level, "public")
        if condition == "public":
            continue
        level_path = f"{key_path}.{level}"
        if level == "rows":
            level_path = key_path
        if not _check_access_condition(condition, level_path, faults):
            return "private", None
        conditions[level] = condition
    if not conditions:
        return "public", None
    columns = None
    if "columns" in access_fields:
        columns = tuple(access_fields["columns"])
    if "contact" in access_fields:
        contact = str(access_fields["contact"])
    path = access_fields.get("path")
    return "public", RowAccessPolicy(**conditions, columns=columns, path=path, contact=contact)


def _check_access_condition(condition_text: LocatedYamlScalar, key_path: str, faults: FaultCollector) -> bool:
    """Return whether a condition can be read; warn if it lets everybody or nobody see the rows."""
    if condition_text.isidentifier():
        faults.add_error(
            f"{key_path} must be 'public', 'private', 'members' or a condition, not {str(condition_text)!r}",
            condition_text.place,
            suggest_spelling(condition_text, ("public", "private", "members")),
        )
        return False
    try:
        tree = parse_expression_with_depth_limit(condition_text, is_condition=True)
        check_row_policy(tree, None, condition_text)
    except QueryError as error:
        faults.add_error(
            f"{key_path}: {error.message}",
            condition_text.locate_character(error.offset),
            error.remedy or "write 'public', 'private', or a condition such as release_date <= now",
        )
        return False
    sees_all_rows = decide_policy_for_everybody(tree)
    if sees_all_rows is None:
        return True
    effect, plain_word = "nobody sees any row", "private"
    if sees_all_rows:
        effect, plain_word = "everybody sees every row", "public"
    message = f"{key_path}: {effect} under this policy"
    faults.add_warning(message, condition_text.place, f"write {plain_word!r}, or correct the condition")
    return True
