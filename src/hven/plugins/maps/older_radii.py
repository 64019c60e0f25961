"""Radii of bodies in the IAU's report of 2000 (Seidelmann et al. 2002), for frames with numbers ``IAU2000``."""

from __future__ import annotations

from collections.abc import Mapping

# number of the body (NAIF) -> equatorial and polar radius in metres
OLDER_RADII_M: Mapping[int, tuple[float, float]] = {
    199: (2439700.0, 2439700.0),
    299: (6051800.0, 6051800.0),
    301: (1737400.0, 1737400.0),
    399: (6378140.0, 6356750.0),
    499: (3396190.0, 3376200.0),
    599: (71492000.0, 66854000.0),
    606: (2575000.0, 2575000.0),
    699: (60268000.0, 54364000.0),
    799: (25559000.0, 24973000.0),
    801: (1352600.0, 1352600.0),
    899: (24764000.0, 24341000.0),
    901: (593000.0, 593000.0),
    999: (1195000.0, 1195000.0),
}
