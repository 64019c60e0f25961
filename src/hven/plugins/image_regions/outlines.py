"""Trace the outlines of sets of pixels of images, and turn them into regions on the sphere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import Regions
from hven.model.sky.api.ragged_arrays import compute_element_numbers, compute_offsets
from hven.model.sky.api.ring_geometry import split_and_rank_outline_rings
from hven.plugins.image_regions.disc_image import MAX_UNCLIPPED_SQUARED_RADIUS, DiscImage, compute_sweep_angles
from hven.plugins.image_regions.limb_clipping import ClippedOutlines, clip_outlines_at_limb
from hven.plugins.image_regions.pixel_corners import OutlineCorners, trace_pixel_outlines
from hven.plugins.image_regions.pixel_runs import KEYS_PER_LINE, PixelRuns, compute_pixel_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.plugins.image_regions.cylindrical_map import CylindricalMap

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

MAX_AREA_ERROR_SHARE = 3e-4
"""The share of a region's area by which great circles between its vertices may miss the edges of its pixels."""
MIN_EDGE_RADIANS = 1e-13
"""Radians; shorter edges are dropped."""
MAX_EDGE_ANGLE_RADIANS = 0.5
"""Radians of a small circle that one edge replaces at most."""


@dataclass(frozen=True, slots=True)
class OutlinedRegions:
    """Hold the regions of contours.

    Attributes
    ----------
    regions
        One for each row; a row with a fault is empty.
    pixels
        The number of pixels of each region, shape (n,).
    clipped
        The share of its pixels' area that lies beyond the limb, 0 to 1.
    """

    regions: Regions
    pixels: Whole
    clipped: Numbers


def join_outlined_regions(pieces: Sequence[tuple[Whole, OutlinedRegions]]) -> OutlinedRegions:
    """Join regions that were made in pieces.

    Parameters
    ----------
    pieces
        The indexes of the rows of each piece, and their regions; together each row once.

    Returns
    -------
    outlined
        The regions in the order of the rows.
    """
    order = np.argsort(np.concatenate([rows for rows, _ in pieces]))
    outlines = [outlined for _, outlined in pieces]
    regions = Regions.concat([outlined.regions for outlined in outlines]).take(order)
    pixels = np.concatenate([outlined.pixels for outlined in outlines])
    clipped = np.concatenate([outlined.clipped for outlined in outlines])
    return OutlinedRegions(regions, pixels[order], clipped[order])


def trace_pixel_regions(
    runs: PixelRuns, region_count: int, image_geometry: DiscImage | CylindricalMap, x: Whole, y: Whole
) -> OutlinedRegions:
    """Turn sets of pixels into regions on the sphere.

    Parameters
    ----------
    runs
        The pixels.
    region_count
        The number of regions.
    image_geometry
        The images of the regions.
    x, y
        The pixels that (0, 0) of the runs' keys stands for, shape (rows,).

    Returns
    -------
    outlined
        The regions, their pixels and the share of them beyond the limb.
    """
    turns, after = _orient_outlines(trace_pixel_outlines(runs), image_geometry)
    row = turns.row
    twin = turns.twin
    corner_x = turns.x + x[row] - 0.5
    corner_y = turns.y + y[row] - 0.5
    u, v = image_geometry.to_plane(row, corner_x, corner_y)
    limb = np.zeros(len(row), dtype=np.bool_)
    cut = None
    level: Flags | None = turns.level
    squared_radii = u * u + v * v
    if isinstance(image_geometry, DiscImage) and squared_radii.max() > MAX_UNCLIPPED_SQUARED_RADIUS:
        level = None
        full = _find_regions_at_rightmost_limb_point(runs, region_count, image_geometry, x, y)
        cut = clip_outlines_at_limb(row, u, v, after, full, row_count=region_count)
        row = cut.row
        u = cut.u
        v = cut.v
        after = cut.after
        limb = cut.on_limb
        twin = _update_twin_numbers(twin, cut, len(turns.row))
    root, rank = split_and_rank_outline_rings(after, twin, level)
    cross = u * v[after] - v * u[after]
    if limb.any():
        arc = compute_sweep_angles(u, v, after)
        cross = np.where(limb, arc, cross)  # twice the sector
    total = _sum_by_row(row, cross, region_count) / 2.0
    angle, length, bend, points = image_geometry.measure_edge_arcs(row, u, v, after, limb)
    count = count_edge_pieces(row, angle, length, bend, total)
    ring_area = np.bincount(root, weights=cross, minlength=len(row)) / 2.0
    rings = _OutlineRings(row, root, ring_area, region_count)
    part = rings.assign_rings_to_parts(runs, turns, cut, image_geometry, (x, y))
    sequence, nodes, ring_starts = rings.sort_nodes(part, rank)
    at, share, offsets = divide_edges(count[nodes], ring_starts)
    lon, lat = image_geometry.locate_edge_points(
        row, u, v, after, limb, angle=angle, points=points, point_edges=nodes[at], share=share
    )
    first = np.flatnonzero(~rings.is_hole[sequence])
    shell_rows = rings.ring_row[sequence[first]]
    part_counts = np.bincount(shell_rows, minlength=region_count)
    part_offsets = np.append(first, len(sequence))
    row_offsets = np.append(0, np.cumsum(part_counts))
    regions = Regions(lon, lat, offsets, part_offsets, row_offsets)
    pixels = runs.count_pixels(region_count)
    beyond = np.zeros(region_count)
    if isinstance(image_geometry, DiscImage) and cut is not None:
        pixel_area = image_geometry.compute_pixel_area(np.arange(region_count))
        share_on_disc = total / np.maximum(pixels * pixel_area, 1e-300)
        beyond = np.where(cut.is_clipped, 1.0 - share_on_disc, 0.0)
    return OutlinedRegions(regions, pixels, np.clip(beyond, 0.0, 1.0))


def _orient_outlines(turns: OutlineCorners, image_geometry: DiscImage | CylindricalMap) -> tuple[OutlineCorners, Whole]:
    """Reverse the outlines of mirrored images, so that the region is to the left; also return the successors."""
    after = turns.after.copy()
    is_mirrored = image_geometry.is_mirrored[turns.row]
    if not is_mirrored.any():
        return turns, after
    after[turns.after] = np.arange(len(turns.row))
    after = np.where(is_mirrored, after, turns.after)
    return replace(turns, after=after.copy(), level=turns.level ^ is_mirrored), after


def _update_twin_numbers(twin: Whole, cut: ClippedOutlines, node_count: int) -> Whole:
    """Return the twin nodes of outlines that were cut, by their new numbers, where they are left."""
    is_original = cut.source_node >= 0
    new_numbers = np.full(node_count, -1)
    new_numbers[cut.source_node[is_original]] = np.flatnonzero(is_original)
    is_left = new_numbers[twin] >= 0
    return new_numbers[twin[is_left]]


def count_edge_pieces(row: Whole, angle: Numbers, length: Numbers, curvature: Numbers, area: Numbers) -> Whole:
    """Compute the number of great circles that replace each edge.

    Parameters
    ----------
    row, angle, length, curvature
        Edges as `DiscImage.measure_edge_arcs` gives them, shape (n,).
    area
        A lower limit of the area of each row's region, steradian; shape (rows,).

    Returns
    -------
    pieces
        The number of arcs that together miss at most `MAX_AREA_ERROR_SHARE` of the area, shape (n,); 0 for a side
        along a pole, which has no length.
    """
    around = _sum_by_row(row, length, len(area))
    max_error = np.maximum(12.0 * MAX_AREA_ERROR_SHARE * area, 1e-30)
    fine = np.sqrt(around / max_error)[row]
    count_by_angle = angle / MAX_EDGE_ANGLE_RADIANS
    count_by_bend = length * np.sqrt(curvature) * fine
    count = np.maximum(np.maximum(count_by_angle, count_by_bend), 1.0)
    has_length = length > MIN_EDGE_RADIANS
    return np.where(has_length, np.ceil(count), 0.0).astype(np.int64)


def _sum_by_row(row: Whole, values: Numbers, row_count: int) -> Numbers:
    """Sum the values of each row; for ascending rows it takes a tenth of the time of `bincount`."""
    if not len(row) or (row[1:] < row[:-1]).any():
        return np.bincount(row, weights=values, minlength=row_count).astype(np.float64)
    begins_row = np.append(True, row[1:] != row[:-1])
    first = np.flatnonzero(begins_row)
    sums = np.zeros(row_count)
    sums[row[first]] = np.add.reduceat(values, first)
    return sums


def divide_edges(piece_counts: Whole, ring_offsets: Whole) -> tuple[Whole, Numbers, Whole]:
    """Divide edges into pieces.

    Parameters
    ----------
    piece_counts
        The number of pieces of each edge, in the order of the rings, shape (n,).
    ring_offsets
        Where the rings begin, and the end, shape (r + 1,).

    Returns
    -------
    at, share, offsets
        The edge of each piece and the share of the edge before the piece, 0 to 1, shape (m,); where the rings begin
        among the pieces, shape (r + 1,).
    """
    if (piece_counts == 1).all():
        return np.arange(len(piece_counts)), np.zeros(len(piece_counts)), ring_offsets
    at, number = compute_element_numbers(piece_counts)
    share = number / piece_counts[at]
    piece_offsets = compute_offsets(piece_counts)
    return at, share, piece_offsets[ring_offsets]


def _find_regions_at_rightmost_limb_point(
    runs: PixelRuns, region_count: int, disc: DiscImage, x: Whole, y: Whole
) -> Whole:
    """Find the regions that contain the rightmost point of the limb."""
    row = np.arange(region_count)
    u, v = disc.to_pixels(row, np.ones(region_count), np.zeros(region_count))
    a = np.floor(u + 0.5).astype(np.int64) - x
    b = np.floor(v + 0.5).astype(np.int64) - y
    is_valid = (a >= 0) & (b >= 0) & (a < KEYS_PER_LINE) & (b < KEYS_PER_LINE)
    valid_rows = row[is_valid]
    keys = compute_pixel_keys(valid_rows, b[is_valid], a[is_valid])
    return valid_rows[runs.contains_pixels(keys)]


class _OutlineRings:
    """Hold the rings of outlines, and sort them into parts.

    `ring` is the first node of each ring, `root` the first node of each node's ring; `is_hole` flags rings with a
    negative area.
    """

    def __init__(self, row: Whole, root: Whole, area: Numbers, region_count: int) -> None:
        self.root = root
        self.region_count = region_count
        self.is_first_node = root == np.arange(len(root))
        self.ring = np.flatnonzero(self.is_first_node)
        self.ring_row = row[self.ring]
        self.is_hole = area[self.ring] < 0.0

    def sort_nodes(self, part: Whole, rank: Whole) -> tuple[Whole, Whole, Whole]:
        """Sort rings by their parts, and nodes by their rings.

        Return the rings in order, the nodes in order, and the offsets of the rings among these nodes.
        """
        sequence = np.lexsort((self.ring, self.is_hole, part, self.ring_row))
        size = np.bincount(self.root, minlength=len(self.root))[self.ring]
        ordered_size = size[sequence]
        begin = np.zeros(len(self.ring), dtype=np.int64)
        begin[sequence] = np.cumsum(ordered_size) - ordered_size
        number = np.cumsum(self.is_first_node) - 1
        node_places = begin[number[self.root]] + rank
        nodes = np.empty(len(self.root), dtype=np.int64)
        nodes[node_places] = np.arange(len(self.root))
        ring_starts = np.append(begin[sequence], len(nodes))
        return sequence, nodes, ring_starts

    def assign_rings_to_parts(
        self,
        runs: PixelRuns,
        outline_corners: OutlineCorners,
        cut: ClippedOutlines | None,
        image_geometry: DiscImage | CylindricalMap,
        origin: tuple[Whole, Whole],
    ) -> Whole:
        """Return the number of the part that each ring belongs to: the number of its shell's ring.

        `origin` is the pixel of each region that (0, 0) of the runs' keys stands for.
        """
        hole = self.is_hole
        part = np.arange(len(self.ring))
        if not hole.any():
            return part
        shell_rows = self.ring_row[~hole]
        shell_counts = np.bincount(shell_rows, minlength=self.region_count)
        single = shell_counts[self.ring_row] == 1
        shell = np.zeros(self.region_count, dtype=np.int64)
        shell[shell_rows] = part[~hole]
        part = np.where(hole & single, shell[self.ring_row], part)
        lost = np.flatnonzero(hole & ~single)
        if not len(lost):
            return part
        lost_rings = self.ring[lost]
        if cut is None:
            node = _find_nodes_left_of_corners(runs, outline_corners, lost_rings)
        else:
            node = _find_clipped_nodes_left_of_corners(
                runs, outline_corners, cut.source_node[lost_rings], cut, image_geometry, origin=origin
            )
        number = np.full(len(self.root), -1)
        number[self.ring] = np.arange(len(self.ring))
        part[lost] = number[self.root[node]]
        while True:
            further = part[part]
            if np.array_equal(further, part):
                return part
            part = further


def _find_run_starts(runs: PixelRuns, outline_corners: OutlineCorners, corner: Whole) -> Whole:
    """Find the first pixel of the run that ends at a hole's lowest and leftmost corner.

    It begins at another ring of the same part.
    """
    keys = compute_pixel_keys(outline_corners.row[corner], outline_corners.y[corner], outline_corners.x[corner])
    run_number = np.searchsorted(runs.end, keys)
    starts: Whole = runs.begin[run_number] & (KEYS_PER_LINE - 1)
    return starts


def _find_nodes_left_of_corners(runs: PixelRuns, outline_corners: OutlineCorners, corner: Whole) -> Whole:
    """Find a node of the ring to the left of each hole's first corner."""
    start = _find_run_starts(runs, outline_corners, corner)
    node = outline_corners.find_edge_starts(outline_corners.row[corner], start, outline_corners.y[corner])
    return outline_corners.after[node]


def _find_clipped_nodes_left_of_corners(
    runs: PixelRuns,
    outline_corners: OutlineCorners,
    corner: Whole,
    cut: ClippedOutlines,
    image_geometry: DiscImage | CylindricalMap,
    *,
    origin: tuple[Whole, Whole],
) -> Whole:
    """Find a node of the ring to the left of each hole's first corner, among outlines that are cut at the limb."""
    x, y = origin
    corner_rows = outline_corners.row[corner]
    line = outline_corners.y[corner]
    start = _find_run_starts(runs, outline_corners, corner)
    node = cut.edge_end[outline_corners.find_edge_starts(corner_rows, start, line)]
    height = (line + y[corner_rows]).astype(np.float64)
    start_u, start_v = image_geometry.to_plane(corner_rows, start + x[corner_rows] - 0.5, height)
    beyond_limb = np.flatnonzero(start_u * start_u + start_v * start_v >= 1.0)
    end_x = outline_corners.x[corner] + x[corner_rows] - 0.5
    rows_beyond = corner_rows[beyond_limb]
    end_u, end_v = image_geometry.to_plane(rows_beyond, end_x[beyond_limb], height[beyond_limb])
    node[beyond_limb] = cut.find_limb_arc(rows_beyond, start_u[beyond_limb], start_v[beyond_limb], end_u, end_v)
    return node
