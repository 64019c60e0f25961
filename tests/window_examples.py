"""Examples of functions before OVER, for the reference; they stand over four rows: x is 1, 1, 2, 3 and name a, b, c, d.

The values are those of the rows in the order of their names. `tests/adql/test_windows.py` runs each one.
"""

from __future__ import annotations

WINDOW_EXAMPLES = {
    "ROW_NUMBER": "ROW_NUMBER() OVER (ORDER BY name) is [1, 2, 3, 4]",
    "RANK": "RANK() OVER (ORDER BY x) is [1, 1, 3, 4]",
    "DENSE_RANK": "DENSE_RANK() OVER (ORDER BY x) is [1, 1, 2, 3]",
    "PERCENT_RANK": "PERCENT_RANK() OVER (ORDER BY name DESC) is [1.0, 0.6666666667, 0.3333333333, 0.0]",
    "CUME_DIST": "CUME_DIST() OVER (ORDER BY x) is [0.5, 0.5, 0.75, 1.0]",
    "NTILE": "NTILE(2) OVER (ORDER BY name) is [1, 1, 2, 2]",
    "LAG": "LAG(x) OVER (ORDER BY name) is [None, 1.0, 1.0, 2.0]",
    "LEAD": "LEAD(x, 2) OVER (ORDER BY name) is [2.0, 3.0, None, None]",
    "FIRST_VALUE": "FIRST_VALUE(name) OVER (ORDER BY name) is ['a', 'a', 'a', 'a']",
    "LAST_VALUE": "LAST_VALUE(name) OVER (ORDER BY name) is ['a', 'b', 'c', 'd']",
    "NTH_VALUE": "NTH_VALUE(x, 3) OVER (ORDER BY name) is [None, None, 2.0, 2.0]",
    "AVG": "AVG(x) OVER () is [1.75, 1.75, 1.75, 1.75]",
    "COUNT": "COUNT(*) OVER (PARTITION BY x) is [2, 2, 1, 1]",
    "MAX": "MAX(x) OVER (PARTITION BY x) is [1.0, 1.0, 2.0, 3.0]",
    "MEDIAN": "MEDIAN(x) OVER () is [1.5, 1.5, 1.5, 1.5]",
    "MIN": "MIN(x) OVER (ORDER BY name DESC) is [1.0, 1.0, 2.0, 3.0]",
    "STDDEV": "STDDEV(x) OVER (PARTITION BY x) is [0.0, 0.0, None, None]",
    "SUM": "SUM(x) OVER (ORDER BY name) is [1.0, 2.0, 4.0, 7.0]",
    "VARIANCE": "VARIANCE(x) OVER () is [0.9166666667, 0.9166666667, 0.9166666667, 0.9166666667]",
}
