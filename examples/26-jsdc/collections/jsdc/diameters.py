"""Angular diameters of stars from their colours, as in JSDC.

The relations of JMMC (Chelli et al. 2016, A&A 589, A112; the fit of 2017 to 573 stars) give the logarithm of a diameter as a polynomial
of the index of the spectral type, and of two magnitudes with the extinction removed. Here, the polynomials and the
covariances of their values are Chebyshev series, computed from JMMC's tables of coefficients.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EXTINCTION_V, EXTINCTIONS = 3.1, np.array([0.86, 0.53, 0.36])  # of V; of J, H and K
INDEX_LIMITS, INDEX_MIDDLE, INDEX_RANGE = (42, 272), 157.0, 115.0
# logarithms of the diameters from V-J, V-H and V-K without the magnitudes
RELATIONS = np.array(
    [
        [0.571432924, 0.177978796, -0.0835680536, 0.0138640248, -0.0402349836],
        [0.559947204, 0.158251647, -0.0483753586, 0.0350594534, -0.0199434322],
        [0.564656394, 0.170076613, -0.0412346201, 0.0313318099, -0.0140728494],
    ]
)
# their covariances in units of 1e-6, by the numbers of two colours
COVARIANCES = {
    (0, 0): [119.1959, -70.19284, 103.8537, 22.46905, 57.08379, -8.676287, 55.38601, -13.01583, 23.31379],
    (0, 1): [40.86564, -60.93103, 60.31682, -36.89254, 31.33649, -14.35332, 10.62469, -3.482735, 2.288313],
    (0, 2): [40.46613, -60.49613, 59.78912, -36.62432, 31.07864, -14.24771, 10.53895, -3.432332, 2.257264],
    (1, 1): [99.41483, -66.9541, 92.11035, 8.804882, 50.26737, -9.793995, 44.40933, -10.61539, 18.18747],
    (1, 2): [40.53026, -60.6064, 59.84979, -36.72502, 31.1039, -14.27359, 10.53244, -3.456431, 2.263529],
    (2, 2): [92.27423, -66.15267, 88.13519, 3.331713, 47.91319, -10.32272, 40.30924, -9.757904, 16.26898],
}
SMALLEST_V_ERROR, LARGEST_ERROR = 0.01, 0.35  # magnitudes
RELATIVE_ERROR_OF_SCALE = 0.02
V_WEIGHTS = 0.2 * EXTINCTIONS / (EXTINCTION_V - EXTINCTIONS)
INFRARED_WEIGHTS = 0.2 * EXTINCTION_V / (EXTINCTION_V - EXTINCTIONS)


def spectral_index(sptype) -> "float64":
    """Return the index of a spectral type in the colour tables: four for each subclass, A0 is 80."""
    parts = pc.extract_regex(sptype, r"^(?P<letter>[OBAFGKM])(?P<digits>[0-9](?:\.[0-9]+)?)")
    letters = pc.index_in(pc.struct_field(parts, "letter"), value_set=pa.array(list("OBAFGKM")))
    return pc.add(pc.multiply(letters, 40.0), pc.multiply(pc.cast(pc.struct_field(parts, "digits"), pa.float64()), 4.0))


def diam_vj(vmag, jmag, index) -> "float64 {mas}":
    """Compute the diameter from V-J."""
    return _compute_diameter(0, vmag, jmag, index)


def diam_vh(vmag, hmag, index) -> "float64 {mas}":
    """Compute the diameter from V-H."""
    return _compute_diameter(1, vmag, hmag, index)


def diam_vk(vmag, kmag, index) -> "float64 {mas}":
    """Compute the diameter from V-K."""
    return _compute_diameter(2, vmag, kmag, index)


def limb_darkened_diameter(vmag, e_vmag, jmag, e_jmag, hmag, e_hmag, kmag, e_kmag, index) -> "float64 {mas}":
    """Compute the weighted mean of the three diameters."""
    mean, _, _ = _average_diameters((vmag, jmag, hmag, kmag), (e_vmag, e_jmag, e_hmag, e_kmag), index)
    return _to_nullable(10**mean)


def diameter_error(vmag, e_vmag, jmag, e_jmag, hmag, e_hmag, kmag, e_kmag, index) -> "float64 {mas}":
    """Compute the error of the mean, with 2 % for the scale."""
    mean, variance, _ = _average_diameters((vmag, jmag, hmag, kmag), (e_vmag, e_jmag, e_hmag, e_kmag), index)
    return _to_nullable(10**mean * np.hypot(np.log(10) * np.sqrt(variance), RELATIVE_ERROR_OF_SCALE))


def diameter_chi2(vmag, e_vmag, jmag, e_jmag, hmag, e_hmag, kmag, e_kmag, index) -> "float64":
    """Compute the reduced chi2 of the three diameters."""
    return _to_nullable(_average_diameters((vmag, jmag, hmag, kmag), (e_vmag, e_jmag, e_hmag, e_kmag), index)[2])


def dwarf_diameter(vmag, kmag) -> "float64 {mas}":
    """Compute the diameter by the relation of Kervella et al. (2004) for dwarfs, log d = 0.0755 (V-K) + 0.5170 - 0.2 K."""
    color = pc.multiply(pc.subtract(vmag, kmag), 0.0755)
    return pc.power(10.0, pc.add(pc.subtract(color, pc.multiply(kmag, 0.2)), 0.5170))


def _compute_diameter(number, vmag, mag, index):
    logarithms = _compute_relations(_to_floats(index))[number]
    return _to_nullable(
        10 ** (logarithms + V_WEIGHTS[number] * _to_floats(vmag) - INFRARED_WEIGHTS[number] * _to_floats(mag))
    )


def _average_diameters(magnitudes, errors, index):
    """Return the mean of the logarithms, its variance and the reduced chi2."""
    index = _to_floats(index)
    vmag, *infrared = map(_to_floats, magnitudes)
    v_error, *infrared_errors = map(_to_floats, errors)
    v_error = np.clip(
        np.where(np.isnan(v_error), np.where(vmag <= 3, 0.1, 0.04), v_error), SMALLEST_V_ERROR, LARGEST_ERROR
    )
    infrared_error = np.fmin(np.fmax.reduce(infrared_errors), LARGEST_ERROR)  # the largest error counts for J, H and K
    logarithms = np.stack(
        [
            relation + V_WEIGHTS[number] * vmag - INFRARED_WEIGHTS[number] * infrared[number]
            for number, relation in enumerate(_compute_relations(index))
        ],
        axis=1,
    )
    covariances = np.empty((len(index), 3, 3))
    for (first, second), series in COVARIANCES.items():
        values = 1e-6 * np.polynomial.chebyshev.chebval((index - INDEX_MIDDLE) / INDEX_RANGE, series)
        values = values + V_WEIGHTS[first] * V_WEIGHTS[second] * v_error**2
        if first == second:
            values = values + INFRARED_WEIGHTS[first] ** 2 * infrared_error**2
        covariances[:, first, second] = covariances[:, second, first] = values
    is_known = np.isfinite(logarithms).all(axis=1) & np.isfinite(covariances).all(axis=(1, 2))
    weights = np.full((len(index), 3, 3), np.nan)
    weights[is_known] = np.linalg.inv(covariances[is_known])
    total = weights.sum(axis=(1, 2))
    mean = (weights.sum(axis=1) * logarithms).sum(axis=1) / total
    residuals = np.abs(logarithms - mean[:, None])  # SearchCal ignores their signs
    chi2 = np.einsum("ni,nij,nj->n", residuals, weights, residuals) / 2  # three diameters, one mean
    return mean, 1 / total, chi2


def _compute_relations(index):
    """Return the logarithms without the magnitudes, shape (3, n); NaN: the relations don't reach the spectral type."""
    low, high = INDEX_LIMITS
    inside = np.where((index >= low) & (index <= high), index, np.nan)
    return np.polynomial.chebyshev.chebval((inside - INDEX_MIDDLE) / INDEX_RANGE, RELATIONS.T)


def _to_floats(values):
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _to_nullable(values):
    return pa.array(values, mask=~np.isfinite(values))
