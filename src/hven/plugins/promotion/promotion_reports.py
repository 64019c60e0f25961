"""What differs between a collection of the source site and that of the target, and what a promotion did about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.plugins.promotion.collection_states import (
    CollectionState,
    SourceCollection,
    find_foreign_changes,
    has_same_columns,
)
from hven.plugins.promotion.metadata_differences import MetadataDifference, compare_metadata
from hven.plugins.promotion.row_copies import (
    RowDifference,
    RowHashes,
    SourceRows,
    StoredRows,
    compare_rows,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.site.store import SnapshotRecord


@dataclass(kw_only=True)
class TablePromotion:
    """One table of a promotion.

    Attributes
    ----------
    origin, target
        The rows of the source site and of the target; None: the target has no such table.
    source_hashes, target_hashes
        Their hashes; None: the target has no such rows.
    difference
        How the rows differ; None: all rows are copied, because columns or keys differ.
    expected_hashes
        Hashes of the rows that the target has afterwards, if it keeps changes of its own; None: those of the source.
    kept_rows
        Number of rows that the target keeps as somebody changed them there.
    copied_rows
        Number of rows that were copied to the target.
    is_described_differently
        Whether the sources of the two sites gave the table other metadata.
    """

    record: SnapshotRecord
    origin: SourceRows
    source_hashes: RowHashes
    target: StoredRows | None = None
    target_hashes: RowHashes | None = None
    difference: RowDifference | None = None
    expected_hashes: RowHashes | None = None
    kept_rows: int = 0
    copied_rows: int = 0
    is_described_differently: bool = False

    @property
    def is_merged(self) -> bool:
        """Whether the target keeps changes of its own."""
        return self.expected_hashes is not None

    @property
    def has_changes(self) -> bool:
        """Whether the rows of the target differ."""
        return self.difference is None or not self.difference.is_empty

    def to_json(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        target_hashes = self.target_hashes
        difference = self.difference
        samples: Mapping[str, Any] = {}
        equal_blocks = 0
        counts: dict[str, int | None] = {"added": self.source_hashes.row_count, "changed": None, "removed": None}
        if difference is not None:
            samples = difference.samples
            equal_blocks = difference.equal_blocks
            counts = {"added": difference.added, "changed": difference.changed, "removed": difference.removed_count}
        return {
            "table": self.record.table.qualified_name,
            "columns": len(self.record.table.columns),
            "rows": {"source": self.source_hashes.row_count, "target": target_hashes and target_hashes.row_count},
            "digests": {"source": self.source_hashes.digest, "target": target_hashes and target_hashes.digest},
            **counts,
            "equal_blocks": equal_blocks,
            "samples": samples,
            "copied": self.copied_rows,
            "kept": self.kept_rows,
        }


@dataclass(kw_only=True)
class PromotionReport:
    """What differs between the sites, and what a promotion did.

    Attributes
    ----------
    foreign_changes
        What the target has that does not come from the source site.
    kept_changes
        What a merge keeps of these.
    conflicts
        What both sites changed, so that a merge is refused.
    run
        Id of the run; None: nothing was published.
    file_count, copied_files
        Number of all files, and of those that were copied to the target.
    compares_contents
        Whether files with equal sizes and times were read to compare them.
    """

    collection: str
    tables: list[TablePromotion]
    metadata: MetadataDifference
    foreign_changes: Sequence[str] = ()
    kept_changes: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    run: str | None = None
    by: str = ""
    at: str = ""
    file_count: int = 0
    copied_files: int = 0
    compares_contents: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def has_changes(self) -> bool:
        """Whether anything differs."""
        has_table_changes = any(table.has_changes or table.is_described_differently for table in self.tables)
        return has_table_changes or not self.metadata.is_empty


def compare_sites(
    origin: SourceCollection, target: CollectionState, *, compares_contents: bool = False
) -> PromotionReport:
    """Compare a collection of the source site with that of the target.

    Parameters
    ----------
    origin, target
        What the two sites publish.
    compares_contents
        Read files with equal sizes and times to compare them.
    """
    tables = [
        _compare_table(origin, record, target, target.records.get(name)) for name, record in origin.records.items()
    ]
    equal_names = {table.record.table.qualified_name for table in tables if not table.has_changes}
    foreign_changes = find_foreign_changes(target, origin.site_id, equal_names)
    return PromotionReport(
        collection=origin.name,
        tables=tables,
        metadata=compare_metadata(origin, target, compares_contents=compares_contents),
        foreign_changes=foreign_changes,
        compares_contents=compares_contents,
    )


def _compare_table(
    own_collection: SourceCollection,
    record: SnapshotRecord,
    target_collection: CollectionState,
    target_record: SnapshotRecord | None,
) -> TablePromotion:
    origin = own_collection.open_rows(record)
    promotion = TablePromotion(record=record, origin=origin, source_hashes=origin.compute_hashes())
    if target_record is None:
        return promotion
    target = target_collection.open_rows(target_record)
    promotion.target = target
    promotion.is_described_differently = record.table != target_record.table
    promotion.target_hashes = target.compute_hashes()
    if has_same_columns(origin.table, target.table):
        promotion.difference = compare_rows(promotion.source_hashes, promotion.target_hashes).sample_rows(
            origin, target
        )
    return promotion
