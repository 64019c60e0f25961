"""Merge what somebody changed on the target into a promotion, where the source site did not change the same.

Three states are compared: that of the last promotion (the base), that of the source site, and that of the target.
"""

from __future__ import annotations

import difflib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from hven import descriptor
from hven.descriptor.written_yaml import (
    LocatedYamlList,
    LocatedYamlMap,
    LocatedYamlScalar,
    decode_yaml_file,
    parse_yaml_file,
)
from hven.ingest.api.publication import PINNED_DIRECTORY_KEY
from hven.model.errors import DescriptorError
from hven.plugins.promotion import pinned_directories
from hven.plugins.promotion.collection_states import PROMOTION_KEY, list_events_newest_first
from hven.plugins.promotion.metadata_differences import MetadataDifference
from hven.plugins.promotion.package_selection import select_packages_of
from hven.plugins.promotion.pinned_directories import BASE_FOLDER, FILE_LIST_NAME, FileMark
from hven.plugins.promotion.row_copies import (
    BLOCK_COUNT,
    RowDifference,
    RowHashes,
    build_row_hashes,
    compare_rows,
    find_rows,
    sample_keys,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import Fault
    from hven.model.table import Table
    from hven.plugins.promotion.collection_states import CollectionState, SourceCollection
    from hven.plugins.promotion.promotion_reports import PromotionReport, TablePromotion
    from hven.plugins.promotion.row_copies import Flags
    from hven.site.store import SnapshotRecord

MAX_NAMED_CHANGES = 10


def write_base(
    collection: str,
    source_files: Mapping[str, Path],
    published_files: Mapping[str, Path],
    tables: Sequence[TablePromotion],
    directory: Path,
) -> None:
    """Write into a promoted directory what later merges need of the source site.

    Parameters
    ----------
    collection
        Name of the collection.
    source_files
        The files of the source site, before a merge.
    published_files
        The files that are published, after a merge.
    tables
        The tables: of a merged one, the snapshot does not have the rows of the source site.
    directory
        The directory, with its files.
    """
    base_directory = directory / BASE_FOLDER
    base_directory.mkdir()
    name = f"{collection}.yaml"
    shutil.copyfile(source_files[name], base_directory / name)
    marks: dict[str, dict[str, FileMark | None]] = {}
    for file_name, path in source_files.items():
        mark = pinned_directories.mark_file(file_name, path)
        marks[file_name] = {"source": mark, "target": None}
        if published_files.get(file_name) == path:
            marks[file_name]["target"] = pinned_directories.mark_file(file_name, directory / file_name)
        elif file_name not in published_files:  # the target removed it, and differs from this mark
            marks[file_name]["target"] = mark
    (base_directory / FILE_LIST_NAME).write_bytes(orjson.dumps(marks))
    for table in tables:
        if table.is_merged:
            rows = table.source_hashes.select_blocks(np.ones(BLOCK_COUNT, bool))
            np.save(base_directory / f"{table.record.table.name}.npy", np.stack([rows.keys, rows.values]))


def merge_collection(
    origin: SourceCollection, target: CollectionState, report: PromotionReport, work_directory: Path
) -> SourceCollection:
    """Merge the changes of the target into what the source site publishes.

    What is kept, and what both sites changed, is added to the report.

    Parameters
    ----------
    origin, target
        What the source site and the target publish.
    report
        How they differ; its tables then have the merged differences.
    work_directory
        Directory for the merged descriptor.

    Returns
    -------
    origin
        The source site's collection with the merged descriptor and files.
    """
    base_records = _find_base_records(target, origin.site_id)
    for table in report.tables:
        name = table.record.table.qualified_name
        if table.target is not None:
            base_record = base_records.get(name)
            if base_record is not None:
                table.is_described_differently = table.record.table != base_record.table
            base_hashes = None
            if base_record is not None:
                base_hashes = _read_base_hashes(target, base_record)
            merge_rows(table, base_hashes, report)
    return _merge_files(origin, target, report, work_directory)


# --- rows -----------------------------------------------------------------------------------------------------


def _find_base_records(target: CollectionState, source_site_id: str) -> dict[str, SnapshotRecord]:
    """Find the last published snapshot of each table that a promotion from the source site made."""
    stored_records = {record.id: record for record in target.site.store.list_snapshots(target.name)}
    base_records: dict[str, SnapshotRecord] = {}
    for event in list_events_newest_first(target):
        for table_name, snapshot_id in event.state.items():
            record = stored_records.get(snapshot_id)
            promotion = {}
            if record is not None:
                promotion = record.provenance.get(PROMOTION_KEY, {})
            if record is not None and promotion.get("site") == source_site_id:
                base_records.setdefault(table_name, record)
    return base_records


def _read_base_hashes(target: CollectionState, record: SnapshotRecord) -> RowHashes | None:
    """Return the hashes of the rows that the source site had at the last promotion."""
    if not record.provenance[PROMOTION_KEY].get("merged"):
        return target.open_rows(record).compute_hashes()
    directory = target.site.settings.directory / record.provenance[PINNED_DIRECTORY_KEY]
    path = directory / BASE_FOLDER / f"{record.table.name}.npy"
    if not path.is_file():
        return None
    keys, values = np.load(path, allow_pickle=False)
    return build_row_hashes(keys, values)


def merge_rows(table: TablePromotion, base: RowHashes | None, report: PromotionReport) -> None:
    """Merge the rows that only the target changed into the difference of a table.

    Parameters
    ----------
    table
        The table.
    base
        Hashes of the rows that the source site had at the last promotion; None: they are not kept.
    report
        Where rows that stay, and rows that both sites changed, are told.
    """
    name = table.record.table.qualified_name
    origin, target = table.source_hashes, table.target_hashes
    if target is None or origin.digest == target.digest or (base is not None and base.digest == target.digest):
        return
    if base is None:
        report.conflicts.append(f"the target no longer keeps the rows of {name} from the last promotion")
    elif table.difference is None:
        report.conflicts.append(f"the columns or the key of {name} differ, so its rows cannot be merged")
    elif origin.digest == base.digest:
        kept = compare_rows(target, base)
        _keep_target_rows(table, int(kept.written.sum()) + kept.removed_count)
    elif not table.origin.table.primary:
        report.conflicts.append(f"{name} has no primary key, and both sites changed its rows")
    else:
        _merge_keyed_rows(table, base, report)
    if table.kept_rows:
        report.kept_changes.append(f"{table.kept_rows:,} rows of {name}")


def _keep_target_rows(table: TablePromotion, kept_rows: int) -> None:
    """Keep all rows of the target: the source site has not changed the table."""
    difference = table.difference
    if difference is not None:
        table.difference = replace(
            difference,
            written=np.zeros_like(difference.written),
            removed=np.zeros_like(difference.removed),
            replaced=np.zeros_like(difference.replaced),
            added=0,
            changed=0,
            samples={},
        )
    table.expected_hashes = table.target_hashes
    table.kept_rows = kept_rows


def _merge_keyed_rows(table: TablePromotion, base: RowHashes, report: PromotionReport) -> None:
    """Take the changes of the source site, keep those of the target, and report rows that both changed."""
    target_hashes, difference, target = table.target_hashes, table.difference, table.target
    if target_hashes is None or difference is None or target is None:
        return
    unequal_blocks = ~table.source_hashes.find_equal_blocks(target_hashes)
    own_rows = table.source_hashes.select_blocks(unequal_blocks)
    target_rows = target_hashes.select_blocks(unequal_blocks)
    base_rows = base.select_blocks(unequal_blocks)
    has_target_key, has_target_values = find_rows(own_rows, target_rows)
    has_base_key, is_own_unchanged = find_rows(own_rows, base_rows)
    target_has_base_key, is_target_row_unchanged = find_rows(target_rows, base_rows)
    target_has_own_key, _ = find_rows(target_rows, own_rows)
    unchanged_keys = target_rows.keys[is_target_row_unchanged]
    is_target_unchanged = np.where(has_target_key, np.isin(own_rows.keys, unchanged_keys), ~has_base_key)
    is_written = ~has_target_values & is_target_unchanged & ~is_own_unchanged
    is_kept = ~has_target_values & is_own_unchanged
    is_removed = ~target_has_own_key & is_target_row_unchanged
    is_target_addition = ~target_has_own_key & ~target_has_base_key
    is_own_conflict = ~has_target_values & ~is_own_unchanged & ~is_target_unchanged
    is_target_conflict = ~target_has_own_key & target_has_base_key & ~is_target_row_unchanged
    _report_conflicts(
        table,
        _build_mask(table.source_hashes.row_count, own_rows.positions[is_own_conflict]),
        _build_mask(target_hashes.row_count, target_rows.positions[is_target_conflict]),
        report,
    )
    is_replaced = np.isin(target_rows.keys, own_rows.keys[is_written])
    dropped_rows = is_removed | is_replaced
    merged_difference = RowDifference(
        written=_build_mask(table.source_hashes.row_count, own_rows.positions[is_written]),
        removed=_build_mask(target_hashes.row_count, target_rows.positions[is_removed]),
        replaced=_build_mask(target_hashes.row_count, target_rows.positions[is_replaced]),
        added=int((is_written & ~has_target_key).sum()),
        changed=int((is_written & has_target_key).sum()),
        equal_blocks=difference.equal_blocks,
    )
    samples = {
        "written": sample_keys(table.origin, merged_difference.written),
        "removed": sample_keys(target, merged_difference.removed),
    }
    table.difference = replace(merged_difference, samples=samples)
    table.kept_rows = int(is_kept.sum()) + int(is_target_addition.sum())
    added = build_row_hashes(own_rows.keys[is_written], own_rows.values[is_written])
    dropped = build_row_hashes(target_rows.keys[dropped_rows], target_rows.values[dropped_rows])
    table.expected_hashes = RowHashes(
        block_rows=target_hashes.block_rows + added.block_rows - dropped.block_rows,
        block_sums=target_hashes.block_sums + added.block_sums - dropped.block_sums,
        select_blocks=target_hashes.select_blocks,
    )


def _build_mask(row_count: int, positions: Any) -> Flags:
    mask = np.zeros(row_count, bool)
    mask[positions] = True
    return mask


def _report_conflicts(table: TablePromotion, own_mask: Flags, target_mask: Flags, report: PromotionReport) -> None:
    count = int(own_mask.sum()) + int(target_mask.sum())
    if not count or table.target is None:
        return
    keys = [*sample_keys(table.origin, own_mask), *sample_keys(table.target, target_mask)][:MAX_NAMED_CHANGES]
    key_texts = [", ".join(f"{name} {value}" for name, value in row.items()) for row in keys]
    more = ""
    if count > len(keys):
        more = f" and {count - len(keys):,} more"
    report.conflicts.append(
        f"{count:,} rows of {table.record.table.qualified_name} were changed on both sites: "
        f"{'; '.join(key_texts)}{more}"
    )


# --- files ----------------------------------------------------------------------------------------------------


def _merge_files(
    origin: SourceCollection, target: CollectionState, report: PromotionReport, work_directory: Path
) -> SourceCollection:
    """Merge the files of a collection; the descriptor is merged key by key."""
    if target.resource is None:
        return origin
    base_directory = target.directory / BASE_FOLDER
    target_files = pinned_directories.list_collection_files(target.directory)
    if not (base_directory / FILE_LIST_NAME).is_file():
        if not pinned_directories.compare_files(origin.files, target_files).is_empty:
            report.conflicts.append(f"{target.directory} does not come from a promotion, so its files cannot be merged")
        return origin
    marks = orjson.loads((base_directory / FILE_LIST_NAME).read_bytes())
    descriptor_name = f"{origin.name}.yaml"
    own_files = origin.files
    merged_files: dict[str, Path] = {}
    kept_names = []
    source_names = _list_source_files([*origin.records.values(), *target.records.values()])
    for name in sorted({*own_files, *target_files, *marks} - {descriptor_name}):
        mark = marks.get(name, {"source": None, "target": None})
        own_path, target_path = own_files.get(name), target_files.get(name)
        own_mark = None if own_path is None else pinned_directories.mark_file(name, own_path)
        target_mark = None if target_path is None else pinned_directories.mark_file(name, target_path)
        path = own_path
        is_changed = target_mark != mark["target"] and not _is_same_file(name, own_path, target_path)
        if is_changed and name not in source_names:
            if own_mark == mark["source"]:
                path = target_path
                kept_names.append(name)
            elif own_mark is not None or target_mark is not None:
                report.conflicts.append(f"the file {name} was changed on both sites")
        if path is not None:
            merged_files[name] = path
    merged_text, kept_keys = _merge_descriptor(
        base_directory / descriptor_name, own_files[descriptor_name], target.resource.path, report
    )
    if not kept_names and not kept_keys:
        return origin
    report.kept_changes += [f"{descriptor_name}: {key}" for key in kept_keys]
    report.kept_changes += [f"the file {name}" for name in kept_names]
    if report.conflicts:
        return origin
    merged_files = _write_merged_files(descriptor_name, merged_text, merged_files, work_directory)
    with select_packages_of(target.site.settings):
        resource = descriptor.load_descriptor(work_directory / descriptor_name, target.site.settings)
    _compare_again(origin, target, report, (merged_files, target_files), resource)
    return replace(origin, resource=resource, merged_files=merged_files)


def _list_source_files(records: Sequence[SnapshotRecord]) -> set[str]:
    """List the files from which rows were read: these rows are merged, so the files come from the source site."""
    return {pin["name"] for record in records for pin in record.provenance.get("pins", ())}


def _is_same_file(name: str, first: Path | None, second: Path | None) -> bool:
    return first is not None and second is not None and pinned_directories.is_same_file(name, first, second)


def _compare_again(
    origin: SourceCollection,
    target: CollectionState,
    report: PromotionReport,
    files: tuple[Mapping[str, Path], Mapping[str, Path]],
    resource: Any,
) -> None:
    """Leave out of the report what the merged descriptor says as the target does."""
    file_difference = pinned_directories.compare_files(*files)
    if file_difference.is_empty and origin.records.keys() == target.records.keys():
        report.metadata = MetadataDifference()
        return
    specs = {f"{origin.name}.{spec.table.name}": spec.table for spec in resource.tables}
    rights = [
        item
        for item in report.metadata.rights
        if item.table not in specs or not _has_same_rights(specs[item.table], target.tables[item.table])
    ]
    report.metadata = replace(report.metadata, files=file_difference, rights=rights)


def _has_same_rights(first: Table, second: Table) -> bool:
    return (first.access, first.project, first.policy) == (second.access, second.project, second.policy)


def _write_merged_files(
    descriptor_name: str, merged_text: str, files: Mapping[str, Path], work_directory: Path
) -> dict[str, Path]:
    """Write a directory in which the merged descriptor can be read."""
    work_directory.mkdir(parents=True, exist_ok=True)
    directory = work_directory
    for name, path in files.items():
        place = directory / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(place):
            place.symlink_to(path.absolute())
    path = directory / descriptor_name
    path.unlink(missing_ok=True)
    path.write_text(merged_text, encoding="utf-8")
    return {descriptor_name: path, **files}


def _merge_descriptor(
    base_path: Path, own_path: Path, target_path: Path, report: PromotionReport
) -> tuple[str, list[str]]:
    """Merge the descriptors of both sites.

    Returns
    -------
    text, kept_keys
        The merged descriptor, and the keys of which the target's value is kept.
    """
    paths = (base_path, own_path, target_path)
    base, origin, target = (_read_tree(path) for path in paths)
    merge = _TreeMerge()
    expected_tree = merge.merge_values(base, origin, target, ())
    kept_keys, conflicts = merge.kept_keys, merge.conflicts
    own_text = own_path.read_text(encoding="utf-8")
    if conflicts:
        report.conflicts += [f"{target_path}: {text}" for text in conflicts]
        return own_text, kept_keys
    if not kept_keys:
        return own_text, []
    merged_lines = _merge_lines(*(path.read_text(encoding="utf-8").splitlines(keepends=True) for path in paths))
    merged_text = None
    if merged_lines is not None:
        merged_text = "".join(merged_lines)
    if merged_text is None or _parse_tree(merged_text.encode(), str(target_path)) != expected_tree:
        named_keys = ", ".join(kept_keys[:MAX_NAMED_CHANGES])
        report.conflicts.append(f"{target_path}: both sites changed the lines of {named_keys}")
        return own_text, kept_keys
    return merged_text, kept_keys


def _read_tree(path: Path) -> Any:
    return _parse_tree(path.read_bytes(), str(path))


def _parse_tree(data: bytes, name: str) -> Any:
    """Parse a descriptor.

    Raises
    ------
    DescriptorError
        It is not valid YAML.
    """
    faults: list[Fault] = []
    page = decode_yaml_file(data, name, faults)
    tree = None
    if page is not None:
        tree = parse_yaml_file(page, faults)
    if faults:
        raise DescriptorError(faults)
    return tree


_ABSENT = object()  # the value of a key that a map does not have


class _TreeMerge:
    """A merge of the values of two descriptors.

    Attributes
    ----------
    kept_keys
        Keys of which the target's value is kept.
    conflicts
        Sentences about keys that both sites changed.
    """

    def __init__(self) -> None:
        self.kept_keys: list[str] = []
        self.conflicts: list[str] = []

    def merge_values(self, base: Any, origin: Any, target: Any, path: tuple[str, ...]) -> Any:
        """Merge the values of a key; lists and texts are merged as a whole."""
        if target in (origin, base):
            return origin
        if origin == base:
            self.kept_keys += _list_changed_keys(base, target, path)
            return target
        if all(isinstance(value, LocatedYamlMap) for value in (base, origin, target)):
            merged = {}
            for key in dict.fromkeys([*origin, *target]):
                base_value, own_value, target_value = (value.get(key, _ABSENT) for value in (base, origin, target))
                merged_value = self.merge_values(base_value, own_value, target_value, (*path, str(key)))
                if merged_value is not _ABSENT:
                    merged[key] = merged_value
            return merged
        name = ".".join(path) or "the descriptor"
        own_text, target_text = (_shorten(value) for value in (origin, target))
        is_located = isinstance(target, (LocatedYamlMap, LocatedYamlList, LocatedYamlScalar))
        line = f" (line {target.place.line})" if is_located else ""
        self.conflicts.append(f"{name}{line} is {target_text} on the target and {own_text} on the source site")
        return origin


def _list_changed_keys(base: Any, target: Any, path: tuple[str, ...]) -> list[str]:
    """List the innermost keys whose values differ."""
    if base == target:
        return []
    if not (isinstance(base, LocatedYamlMap) and isinstance(target, LocatedYamlMap)):
        return [".".join(path)]
    changed_keys: list[str] = []
    for key in dict.fromkeys([*base, *target]):
        changed_keys += _list_changed_keys(base.get(key, _ABSENT), target.get(key, _ABSENT), (*path, str(key)))
    return changed_keys


def _shorten(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = " ".join(str(value).split())
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _merge_lines(base: list[str], origin: list[str], target: list[str]) -> list[str] | None:
    """Merge the lines of three files; None if both sites changed the same lines."""
    hunks = sorted({*_list_hunks(base, origin, 0), *_list_hunks(base, target, 1)})
    merged: list[str] = []
    position = 0
    earlier_hunk: tuple[int, int, tuple[str, ...]] | None = None
    for begin, end, _, lines in hunks:
        if earlier_hunk == (begin, end, lines):  # both made the same change
            continue
        if begin < position:
            return None
        merged += [*base[position:begin], *lines]
        position = end
        earlier_hunk = (begin, end, lines)
    return [*merged, *base[position:]]


def _list_hunks(base: list[str], changed: list[str], side: int) -> list[tuple[int, int, int, tuple[str, ...]]]:
    matcher = difflib.SequenceMatcher(None, base, changed, autojunk=False)
    return [
        (begin, end, side, tuple(changed[new_begin:new_end]))
        for tag, begin, end, new_begin, new_end in matcher.get_opcodes()
        if tag != "equal"
    ]
