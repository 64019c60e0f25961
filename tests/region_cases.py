"""Difficult regions: part of the reason why each is invalid, and its area in steradian after repair (None: unchanged area)."""

import math

nan = math.nan
SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
HOLE = [(4, 4), (4, 6), (6, 6), (6, 4)]
CAP = [(0, 60), (90, 60), (180, 60), (270, 60)]
BELT = [[(0, -10), (120, -10), (240, -10)], [(240, 10), (120, 10), (0, 10)]]
EIGHT = [(0, 0), (10, 10), (10, 0), (0, 10)]
OVERLAPPING_SQUARE = [(5, 5), (15, 5), (15, 15), (5, 15)]
HALF = [(0, 0), (90, 0), (180, 0), (270, 0)]
WHOLE = 4.0 * math.pi

CASES = {
    "a square": ([[SQUARE]], "", 0.030382156674602433),
    "nothing": ([], "", 0.0),
    "the whole sphere": ([[]], "", WHOLE),
    "a square with a hole": ([[SQUARE, HOLE]], "", None),
    "around a pole": ([[CAP]], "", None),
    "all but a pole": ([[CAP[::-1]]], "", None),
    "all but a square": ([[SQUARE[::-1]]], "", WHOLE - 0.030382156674602433),
    "a hemisphere": ([[HALF]], "", 2.0 * math.pi),
    "a belt": ([BELT], "", None),
    "two parts": ([[SQUARE], [CAP]], "", None),
    "over 0": ([[[(350, -5), (370, -5), (10, 5), (-10, 5)]]], "", None),
    "a corner at a pole": ([[[(30, 80), (200, 90), (350, 80)][::-1]]], "", None),
    "a corner at the other pole": ([[[(30, -80), (200, -90), (350, -80), (0, -75)]]], "", None),
    "an edge over a pole": ([[[(0, 80), (180, 80), (270, 80)][::-1]]], "", None),
    "an island in a lake": ([[SQUARE, [(1, 1), (1, 9), (9, 9), (9, 1)]], [[(4, 4), (6, 4), (6, 6), (4, 6)]]], "", None),
    "a figure eight": ([[EIGHT]], "self-intersection", 0.015190613),
    "an eight that touches": (
        [[[(0, 0), (5, 5), (10, 0), (10, 10), (5, 5), (0, 10)]]],
        "self-intersection",
        0.015191954,
    ),
    "parts that overlap": ([[SQUARE], [OVERLAPPING_SQUARE]], "self-intersection", 0.052845814),
    "a part in another": ([[SQUARE], [HOLE[::-1]]], "nested shells", 0.030382156674602433),
    "parts side by side": (
        [[SQUARE], [[(10, 0), (20, 0), (20, 10), (10, 10)]]],
        "self-intersection",
        2 * 0.030382156674602433,
    ),
    "a hole beside it": (
        [[SQUARE, [(20, 4), (20, 6), (22, 6), (22, 4)]]],
        "hole lies outside shell",
        0.030382156674602433,
    ),
    "a spike": ([[[(0, 0), (10, 0), (20, 0), (10, 0), (10, 10), (0, 10)]]], "self-intersection", 0.030382156674602433),
    "there and back": ([[[(0, 0), (10, 0), (10, 10), (10, 0)]]], "", 0.0),
    "a line": ([[[(0, 0), (10, 0)]]], "fewer than three", 0.0),
    "a point": ([[[(3, 3)]]], "fewer than three", 0.0),
    "points in a row": ([[[(0, 0), (10, 0), (20, 0)]]], "", 0.0),
    "a vertex twice": ([[[(0, 0), (0, 0), (10, 0), (10, 10), (0, 10)]]], "twice in a row", 0.030382156674602433),
    "a pole by two longitudes": ([[[(0, 80), (90, 80), (90, 90), (0, 90)]]], "twice in a row", None),
    "half a turn": ([[[(0, 0), (180, 0), (90, 80)]]], "half a turn", 0.0),
    "beyond a pole": ([[[(0, 91), (180, 0), (90, 80)]]], "beyond 90 degrees", 0.0),
    "no number": ([[[(0, nan), (180, 0), (90, 80)]]], "not a number", 0.0),
    "no number in one of two parts": (
        [[SQUARE], [[(0, nan), (180, 0), (90, 80)]]],
        "not a number",
        0.030382156674602433,
    ),
    "a corner beside the end of a long edge": (
        [[[(0, -60), (0, 60), (359.9999995, 59.9999999), (240, 60), (120, 60), (120, -60), (240, -60)]]],
        "",
        None,
    ),
    "a thread around the sphere": ([[[(0, -80), (100, 80), (200, -80), (300, 80)]]], "", None),
    "wide and crossed": (
        [[[(0, 0), (90, 0), (180, 10), (270, -10), (300, 80), (100, -10)]]],
        "self-intersection",
        None,
    ),
}
