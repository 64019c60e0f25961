"""Merge what somebody changed on the target into a promotion, where the source site did not change the same.

Three states are compared: that of the last promotion (the base), that of the source site, and that of the target.
"""

from __future__ import annotations

import difflib
import os
import shutil
from dataclasses import replace
from itertools import chain
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
    build_row_hashes,
    compare_rows,
    sample_keys,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import Fault
    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.plugins.promotion.collection_states import CollectionState, SourceCollection
    from hven.plugins.promotion.promotion_reports import PromotionReport, TablePromotion
    from hven.plugins.promotion.row_copies import RowDifference, RowHashes, SourceRows
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
        base_record = base_records.get(table.record.table.qualified_name)
        base_hashes = None
        if base_record is not None and table.target is not None:
            table.is_described_differently = table.record.table != base_record.table
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
            if record is not None and record.provenance.get(PROMOTION_KEY, {}).get("site") == source_site_id:
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
    elif origin.digest != base.digest and not table.origin.table.primary:
        report.conflicts.append(f"{name} has no primary key, and both sites changed its rows")
    elif table.target is not None:
        difference = compare_rows(origin, target, base)
        _report_conflicts(name, (table.origin, table.target), difference, report)
        table.difference = difference.sample_rows(table.origin, table.target)
        table.expected_hashes = difference.result
        table.kept_rows = difference.kept
    if table.kept_rows:
        report.kept_changes.append(f"{table.kept_rows:,} rows of {name}")


def _report_conflicts(
    name: str, rows: tuple[SourceRows, SourceRows], difference: RowDifference, report: PromotionReport
) -> None:
    count = sum(int(mask.sum()) for mask in difference.conflicts)
    if not count:
        return
    samples = map(sample_keys, rows, difference.conflicts)
    keys = list(chain.from_iterable(samples))[:MAX_NAMED_CHANGES]
    key_texts = [", ".join(f"{column} {value}" for column, value in row.items()) for row in keys]
    more = ""
    if count > len(keys):
        more = f" and {count - len(keys):,} more"
    report.conflicts.append(f"{count:,} rows of {name} were changed on both sites: {'; '.join(key_texts)}{more}")


# --- files ----------------------------------------------------------------------------------------------------


def _merge_files(
    origin: SourceCollection, target: CollectionState, report: PromotionReport, work_directory: Path
) -> SourceCollection:
    """Merge the files of a collection; the descriptor is merged key by key."""
    if target.resource is None:
        return origin
    base_directory = target.directory / BASE_FOLDER
    own_files, target_files = origin.files, pinned_directories.list_collection_files(target.directory)
    if not (base_directory / FILE_LIST_NAME).is_file():
        if not pinned_directories.compare_files(own_files, target_files).is_empty:
            report.conflicts.append(f"{target.directory} does not come from a promotion, so its files cannot be merged")
        return origin
    marks = orjson.loads((base_directory / FILE_LIST_NAME).read_bytes())
    descriptor_name = f"{origin.name}.yaml"
    merged_files: dict[str, Path] = {}
    kept_names = []
    records = [*origin.records.values(), *target.records.values()]
    # rows were read from these files, and are merged, so the files come from the source site
    source_names = {pin["name"] for record in records for pin in record.provenance.get("pins", ())}
    for name in sorted({*own_files, *target_files, *marks} - {descriptor_name}):
        mark = marks.get(name, {"source": None, "target": None})
        path = own_path = own_files.get(name)
        target_path = target_files.get(name)
        own_mark, target_mark = (
            None if place is None else pinned_directories.mark_file(name, place) for place in (own_path, target_path)
        )
        is_changed = target_mark != mark["target"] and name not in source_names
        if own_path is not None and target_path is not None:
            is_changed = is_changed and not pinned_directories.is_same_file(name, own_path, target_path)
        if is_changed and own_mark == mark["source"]:
            path = target_path
            kept_names.append(name)
        elif is_changed and (own_mark is not None or target_mark is not None):
            report.conflicts.append(f"the file {name} was changed on both sites")
        if path is not None:
            merged_files[name] = path
    paths = (base_directory / descriptor_name, own_files[descriptor_name], target.resource.path)
    merged_descriptor, kept_keys = _merge_descriptors(paths, report)
    if not kept_names and not kept_keys:
        return origin
    report.kept_changes += [f"{descriptor_name}: {key}" for key in kept_keys]
    report.kept_changes += [f"the file {name}" for name in kept_names]
    if report.conflicts:
        return origin
    descriptor_path = work_directory / descriptor_name
    _write_merged_files(descriptor_path, merged_descriptor, merged_files)
    merged_files = {descriptor_name: descriptor_path, **merged_files}
    with select_packages_of(target.site.settings):
        resource = descriptor.load_descriptor(descriptor_path, target.site.settings)
    _compare_again(origin, target, report, (merged_files, target_files), resource)
    return replace(origin, resource=resource, merged_files=merged_files)


def _compare_again(
    origin: SourceCollection,
    target: CollectionState,
    report: PromotionReport,
    files: tuple[Mapping[str, Path], Mapping[str, Path]],
    resource: CollectionSpec,
) -> None:
    """Leave out of the report what the merged descriptor says as the target does."""
    file_difference = pinned_directories.compare_files(*files)
    if file_difference.is_empty and origin.records.keys() == target.records.keys():
        report.metadata = MetadataDifference()
        return
    tables = {spec.table.qualified_name: spec.table for spec in resource.tables}
    rights = [
        item
        for item in report.metadata.rights
        if item.table not in tables or not _has_same_rights(tables[item.table], target.tables[item.table])
    ]
    report.metadata = replace(report.metadata, files=file_difference, rights=rights)


def _has_same_rights(first: Table, second: Table) -> bool:
    return (first.access, first.project, first.policy) == (second.access, second.project, second.policy)


def _write_merged_files(descriptor_path: Path, merged_descriptor: bytes, files: Mapping[str, Path]) -> None:
    """Write a directory in which the merged descriptor can be read."""
    for name, path in files.items():
        place = descriptor_path.parent / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(place):
            place.symlink_to(path.absolute())
    descriptor_path.parent.mkdir(parents=True, exist_ok=True)
    descriptor_path.unlink(missing_ok=True)
    descriptor_path.write_bytes(merged_descriptor)


def _merge_descriptors(paths: tuple[Path, Path, Path], report: PromotionReport) -> tuple[bytes, list[str]]:
    """Merge the descriptors of both sites.

    Parameters
    ----------
    paths
        The descriptor of the last promotion, that of the source site, and that of the target.
    report
        Where conflicts are told.

    Returns
    -------
    data, kept_keys
        The merged descriptor, and the keys of which the target's value is kept.
    """
    target_path = paths[2]
    documents = [path.read_bytes() for path in paths]
    merge = _TreeMerge()
    base, origin, target = map(_parse_tree, documents, map(str, paths))
    expected_tree = merge.merge_values(base, origin, target, ())
    report.conflicts += [f"{target_path}: {text}" for text in merge.conflicts]
    if merge.conflicts or not merge.kept_keys:
        return documents[1], merge.kept_keys
    merged_lines = _merge_lines(*(document.splitlines(keepends=True) for document in documents))
    merged_descriptor = b"".join(merged_lines or ())
    if merged_lines is None or _parse_tree(merged_descriptor, str(target_path)) != expected_tree:
        named_keys = ", ".join(merge.kept_keys[:MAX_NAMED_CHANGES])
        report.conflicts.append(f"{target_path}: both sites changed the lines of {named_keys}")
    return merged_descriptor, merge.kept_keys


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


def _merge_lines(base: list[bytes], origin: list[bytes], target: list[bytes]) -> list[bytes] | None:
    """Merge the lines of three files; None if both sites changed the same lines."""
    merged: list[bytes] = []
    position = 0
    for begin, end, lines in sorted({*_list_hunks(base, origin), *_list_hunks(base, target)}):  # equal changes are one
        if begin < position:
            return None
        merged += [*base[position:begin], *lines]
        position = end
    return [*merged, *base[position:]]


def _list_hunks(base: list[bytes], changed: list[bytes]) -> list[tuple[int, int, tuple[bytes, ...]]]:
    matcher = difflib.SequenceMatcher(None, base, changed, autojunk=False)
    return [
        (begin, end, tuple(changed[new_begin:new_end]))
        for tag, begin, end, new_begin, new_end in matcher.get_opcodes()
        if tag != "equal"
    ]
