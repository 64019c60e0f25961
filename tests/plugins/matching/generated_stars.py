"""Generate stars for the tests of matching, with a seed."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.csv


def generate_pairs(count, *, seed=1, scatter_arcsec=0.5, years=24.75):
    """Return two tables of stars, the second moved by `years` and scattered; with stars at the seam and the poles."""
    random = np.random.default_rng(seed)
    ra = random.uniform(0, 360, count)
    dec = np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    tenth = count // 10
    ra[:tenth] = random.normal(0, 0.001, tenth) % 360
    dec[tenth : 2 * tenth] = 90 - random.exponential(0.001, tenth)
    dec[2 * tenth : 3 * tenth] = -90 + random.exponential(0.001, tenth)
    # neighbours, so that the nearest star is not always the right one
    ra[3 * tenth : 4 * tenth] = ra[4 * tenth : 5 * tenth] + random.normal(0, 0.8, tenth) / 3600
    dec[3 * tenth : 4 * tenth] = dec[4 * tenth : 5 * tenth]
    pmra, pmdec = random.normal(0, 30, (2, count))
    pmra[::50] = 10_000
    magnitude = random.uniform(5, 15, count)
    first = {"id": np.arange(count), "ra": ra % 360, "dec": dec, "pmra": pmra, "pmdec": pmdec, "mag": magnitude}
    later_ra, later_dec = move_stars(first["ra"], dec, pmra, pmdec, years)
    noise = random.normal(0, scatter_arcsec / 3600, (2, count))
    later_dec = np.clip(later_dec + noise[1], -90, 90)
    later_ra = (later_ra + noise[0] / np.maximum(np.cos(np.radians(later_dec)), 1e-9)) % 360
    order = random.permutation(count)
    second = {
        "source": order + 1_000_000,
        "ra": later_ra[order],
        "dec": later_dec[order],
        "v": magnitude[order] + random.normal(0, 0.3, count),
    }
    return pa.table(first), pa.table(second)


def move_stars(ra, dec, pmra, pmdec, years):
    """Move positions along great circles, by the angle of the motion and spherical trigonometry."""
    distance = np.arctan(np.radians(np.hypot(pmra, pmdec) * years / 3.6e6))
    angle = np.arctan2(pmra, pmdec)
    latitude = np.radians(dec)
    sine = np.sin(latitude) * np.cos(distance) + np.cos(latitude) * np.sin(distance) * np.cos(angle)
    outward = np.cos(latitude) * np.cos(distance) - np.sin(latitude) * np.sin(distance) * np.cos(angle)
    eastward = np.sin(distance) * np.sin(angle)
    # the arcsine of `sine` would not be exact near the poles
    moved_dec = np.degrees(np.arctan2(sine, np.hypot(outward, eastward)))
    return (ra + np.degrees(np.arctan2(eastward, outward))) % 360, moved_dec


def write_csv(table):
    """Write a table as CSV."""
    stream = io.BytesIO()
    pyarrow.csv.write_csv(table, stream)
    return stream.getvalue()
