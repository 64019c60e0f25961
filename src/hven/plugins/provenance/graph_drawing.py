"""Draw a graph as SVG: origins on the left, results on the right, in layers."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from hven.formats import escape_xml, quote_attribute
from hven.plugins.provenance.prov_records import ACTIVITY, AGENT, ENTITY, quote_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.plugins.provenance.prov_records import ProvGraph, ProvRecord, ProvRelation

MAX_BOXES = 150
MAX_SIMILAR_BOXES = 6  # records of one kind with the same relations, such as the files of a source
MAX_LABEL_CHARACTERS = 25
MAX_LABELLED_LINES = 60
BOX_WIDTH, BOX_HEIGHT = 210, 36  # pixels, as all that follows
COLUMN_GAP, ROW_GAP, MARGIN = 90, 16, 12
BEND_HEIGHT = 10  # of a line that passes a column
ORDERING_SWEEPS = 6
PLAN_LABEL = "plan"  # of lines to the plans of associations
CREDIT_ROLES = frozenset({"creator", "publisher"})
BEND_PREFIX = "/bend/"  # no id of a record begins so
FILL_COLOURS = {ENTITY: "#fffc87", ACTIVITY: "#9fb1fc", AGENT: "#fed37f"}  # those of the PROV primer


@dataclass(frozen=True, slots=True)
class _RelationLine:
    """A relation as a line from the later record to the earlier one, by way of free places in columns between them."""

    relation: ProvRelation
    later: str
    earlier: str
    bends: tuple[str, ...] = ()

    def list_segments(self) -> list[tuple[str, str]]:
        """List the pairs of neighbouring places on the line."""
        return list(pairwise((self.later, *self.bends, self.earlier)))


def draw_graph(graph: ProvGraph, *, is_inline: bool = False) -> str:
    """Draw a graph.

    Parameters
    ----------
    graph
        The graph; its first `MAX_BOXES` records are drawn, and few of those with the same relations.
    is_inline
        Whether the drawing is part of a page, and so has the colours of its text.

    Returns
    -------
    svg
        The drawing, in which records link to their own graphs.
    """
    ids = _choose_drawn_ids(graph)
    id_set = set(ids)
    lines = [
        line
        for line in map(_orient_line, _derive_drawn_relations(graph))
        if line.later in id_set and line.earlier in id_set and line.later != line.earlier
    ]
    columns, lines = _assign_columns(ids, lines)
    _order_columns(columns, lines)
    width = 2 * MARGIN + len(columns) * (BOX_WIDTH + COLUMN_GAP) - COLUMN_GAP
    undrawn_count = len(graph.records) - len(ids) + graph.left_out_count
    places, height = _compute_places(columns)
    if undrawn_count:
        height += 24
    page_colour = "" if is_inline else ' color="#333"'
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" '
            f'height="{height:g}" '
            f'font-family="sans-serif" font-size="12" role="img" aria-label="Graph of provenance"'
            f"{page_colour}>"
        ),
        (
            '<defs><marker id="earlier" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto">'
            '<path d="M0 0 8 4 0 8z" fill="currentColor"/></marker></defs>'
        ),
    ]
    if not is_inline:
        parts.append(f'<rect width="{width}" height="{height:g}" fill="#fff"/>')
    has_labels = len(lines) <= MAX_LABELLED_LINES
    parts += [_draw_line(line, places, has_label=has_labels) for line in lines]
    parts += [_draw_box(graph.records[record_id], places[record_id], graph.namespace) for record_id in ids]
    if undrawn_count:
        text = f"{undrawn_count:,} records or relations are not drawn"
        parts.append(f'<text x="{MARGIN}" y="{height - MARGIN:g}" fill="currentColor">{text}</text>')
    return "".join([*parts, "</svg>"])


def _choose_drawn_ids(graph: ProvGraph) -> list[str]:
    """Choose the records that are drawn: a few of those that have the same relations."""
    relations_by_id: dict[str, set[tuple[str, str, str, bool]]] = defaultdict(set)
    for relation in graph.relations:
        relations_by_id[relation.origin].add((relation.kind, relation.role, relation.target, True))
        relations_by_id[relation.target].add((relation.kind, relation.role, relation.origin, False))
    similar_counts: Counter[tuple[str, frozenset[tuple[str, str, str, bool]]]] = Counter()
    drawn_ids = []
    for record_id, record in graph.records.items():
        similarity_key = (record.kind, frozenset(relations_by_id[record_id]))
        similar_counts[similarity_key] += 1
        if similar_counts[similarity_key] <= MAX_SIMILAR_BOXES:
            drawn_ids.append(record_id)
    return drawn_ids[:MAX_BOXES]


def _compute_places(columns: Sequence[Sequence[str]]) -> tuple[dict[str, tuple[float, float]], float]:
    """Place columns beside each other.

    Returns
    -------
    places, height
        The left end and the vertical middle of each record and bend, and the height of the drawing.
    """
    row_height = BOX_HEIGHT + ROW_GAP
    heights_by_column = [
        [BEND_HEIGHT if place.startswith(BEND_PREFIX) else row_height for place in column] for column in columns
    ]
    tallest = max(map(sum, heights_by_column))
    places: dict[str, tuple[float, float]] = {}
    for number, (column, heights) in enumerate(zip(columns, heights_by_column, strict=True)):
        top = MARGIN + (tallest - sum(heights) - ROW_GAP) / 2
        for place, place_height in zip(column, heights, strict=True):
            places[place] = (MARGIN + number * (BOX_WIDTH + COLUMN_GAP), top + place_height / 2)
            top += place_height
    return places, 2 * MARGIN + tallest - ROW_GAP


def _derive_drawn_relations(graph: ProvGraph) -> list[ProvRelation]:
    """List the relations with those to plans, and without attributions that follow from those of a collection."""
    attributions = {(relation.origin, relation.target) for relation in graph.relations if relation.role in CREDIT_ROLES}
    collections = {relation.target: relation.origin for relation in graph.relations if relation.kind == "hadMember"}
    relations = [
        relation
        for relation in graph.relations
        if relation.kind != "wasAttributedTo" or (collections.get(relation.origin), relation.target) not in attributions
    ]
    plans = [replace(relation, target=relation.plan, role=PLAN_LABEL) for relation in relations if relation.plan]
    return [*relations, *plans]


def _orient_line(relation: ProvRelation) -> _RelationLine:
    """Return a relation as a line to the earlier record: rows are later than snapshots, tables than their states."""
    is_reverse = relation.kind == "specializationOf" or relation.target.startswith("row/")
    if is_reverse:
        return _RelationLine(relation, later=relation.target, earlier=relation.origin)
    return _RelationLine(relation, later=relation.origin, earlier=relation.target)


def _assign_columns(ids: Sequence[str], lines: Sequence[_RelationLine]) -> tuple[list[list[str]], list[_RelationLine]]:
    """Assign records to columns, each to the right of all that are earlier; return the lines with their bends."""
    later_ids: dict[str, list[str]] = defaultdict(list)
    waiting_counts: dict[str, int] = dict.fromkeys(ids, 0)
    for line in lines:
        later_ids[line.earlier].append(line.later)
        waiting_counts[line.later] += 1
    ranks = dict.fromkeys(ids, 0)
    first_ids = [record_id for record_id in ids if not waiting_counts[record_id]]
    pending = list(first_ids)
    while pending:
        record_id = pending.pop()
        for later_id in later_ids[record_id]:
            ranks[later_id] = max(ranks[later_id], ranks[record_id] + 1)
            waiting_counts[later_id] -= 1
            if not waiting_counts[later_id]:
                pending.append(later_id)
    for record_id in first_ids:  # agents and files stand beside what needs them first
        ranks[record_id] = max(min((ranks[later_id] for later_id in later_ids[record_id]), default=1) - 1, 0)
    columns: list[list[str]] = [[] for _ in range(max(ranks.values()) + 1)]
    for record_id in ids:
        columns[ranks[record_id]].append(record_id)
    bent_lines = []
    for number, line in enumerate(lines):
        passed_ranks = range(ranks[line.later] - 1, ranks[line.earlier], -1)
        bends = tuple(f"{BEND_PREFIX}{number}/{rank}" for rank in passed_ranks)
        for rank, bend in zip(passed_ranks, bends, strict=True):
            columns[rank].append(bend)
        bent_lines.append(replace(line, bends=bends))
    return [column for column in columns if column], bent_lines


def _order_columns(columns: list[list[str]], lines: Sequence[_RelationLine]) -> None:
    """Order each column by the mean place of the neighbours, so that few lines cross."""
    neighbours: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        for later, earlier in line.list_segments():
            neighbours[earlier].append(later)
            neighbours[later].append(earlier)
    places: dict[str, float] = {}
    for column in columns:
        places |= _compute_column_positions(column)
    for sweep in range(ORDERING_SWEEPS):
        for column in columns if sweep % 2 else reversed(columns):
            means = {
                record_id: _compute_mean_position(neighbours[record_id], places, places[record_id])
                for record_id in column
            }
            column.sort(key=means.__getitem__)
            places |= _compute_column_positions(column)


def _compute_column_positions(column: Sequence[str]) -> dict[str, float]:
    return {record_id: number - len(column) / 2 for number, record_id in enumerate(column)}


def _compute_mean_position(ids: Sequence[str], places: Mapping[str, float], default: float) -> float:
    if ids:
        return sum(places[record_id] for record_id in ids) / len(ids)
    return default


def _draw_line(line: _RelationLine, places: Mapping[str, tuple[float, float]], *, has_label: bool) -> str:
    x, y = places[line.later]
    path = f"M{x:g} {y:g}"
    bend = COLUMN_GAP / 2
    label_x, label_y = x - bend, y
    for number, (_, place) in enumerate(line.list_segments()):
        left, next_y = places[place]
        next_x = left + BOX_WIDTH
        path += f"C{x - bend:g} {y:g} {next_x + bend:g} {next_y:g} {next_x:g} {next_y:g}"
        if not number:
            label_y = (y + next_y) / 2 - 4
        x, y = next_x, next_y
        if place != line.earlier:  # the line passes the column
            path += f"H{left:g}"
            x = left
    label = PLAN_LABEL
    if line.relation.role != PLAN_LABEL:
        label = line.relation.kind
    title = f"{label}: {line.relation.role}" if line.relation.role else label
    text = (
        f'<path d="{path}" fill="none" stroke="currentColor" opacity=".6" marker-end="url(#earlier)">'
        f"<title>{escape_xml(title)}</title></path>"
    )
    if has_label:
        text += (
            f'<text x="{label_x:g}" y="{label_y:g}" text-anchor="middle" font-size="9" '
            f'fill="currentColor">{label}</text>'
        )
    return text


def _draw_box(record: ProvRecord, place: tuple[float, float], namespace: str) -> str:
    x, y = place[0], place[1] - BOX_HEIGHT / 2
    label = record.label
    if len(label) > MAX_LABEL_CHARACTERS:
        label = f"{label[: MAX_LABEL_CHARACTERS - 1]}…"
    radius = BOX_HEIGHT / 2 if record.kind == ENTITY else 0
    colour = FILL_COLOURS[record.kind]
    if record.kind == AGENT:
        points = f"{x:g},{y + BOX_HEIGHT:g} {x:g},{y + 8:g} {x + BOX_WIDTH / 2:g},{y:g} "
        points += f"{x + BOX_WIDTH:g},{y + 8:g} {x + BOX_WIDTH:g},{y + BOX_HEIGHT:g}"
        shape = f'<polygon points="{points}" fill="{colour}" stroke="#808080"/>'
    else:
        shape = (
            f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="{radius:g}" fill="{colour}" '
            'stroke="#808080"/>'
        )
    return (
        f"<a href={quote_attribute(namespace + quote_id(record.id))}><title>{escape_xml(record.label)}</title>{shape}"
        f'<text x="{x + BOX_WIDTH / 2:g}" y="{y + BOX_HEIGHT / 2 + 5:g}" text-anchor="middle" fill="#111">'
        f"{escape_xml(label)}</text></a>"
    )
