"""Build pictures of spectra from bins: a row of values for each bin, with channels grouped where there are many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from hven.plugins.series.reductions import BinRecords
    from hven.plugins.series.sample_parameters import SampleParameter

    Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectrumPicture:
    """The spectra of consecutive bins.

    Attributes
    ----------
    values
        Shape (bins, groups of channels); NaN for no value.
    centers
        Centers of the groups of each bin, of the same shape; without columns if channels do not change with time.
    has_samples
        Whether a bin has samples.
    group_size
        Number of channels of a group.
    """

    values: Numbers
    centers: Numbers
    has_samples: npt.NDArray[np.bool_]
    group_size: int


def build_spectrum_picture(
    bin_chunks: Iterable[tuple[npt.NDArray[np.int64], BinRecords]],
    bin_count: int,
    parameter: SampleParameter,
    channel_parameter: SampleParameter | None,
    *,
    max_rows: int,
    use_peaks: bool,
) -> SpectrumPicture:
    """Build the picture of consecutive bins.

    Parameters
    ----------
    bin_chunks
        Bins with their indexes in the picture.
    bin_count
        Number of bins of the picture.
    parameter
        The spectrum.
    channel_parameter
        The parameter that has the channels of each sample; None: channels do not change.
    max_rows
        Maximum number of groups of channels; without effect where channels change.
    use_peaks
        Whether values are maxima instead of means.
    """
    channel_count = parameter.element_count
    group_size = 1
    if channel_parameter is None:
        group_size = -(-channel_count // max_rows)
    # channels are grouped while bins are read, so that memory does not grow with their number
    dtype = np.float32 if parameter.column.type.datatype == "float" else np.float64
    group_count = -(-channel_count // group_size)
    picture_shape = (bin_count, group_count)
    picture = np.full(picture_shape, np.nan, dtype)
    center_count = 0
    if channel_parameter is not None:
        center_count = group_count
    center_shape = (bin_count, center_count)
    centers = np.full(center_shape, np.nan)
    has_samples = np.zeros(bin_count, bool)
    statistic = "h" if use_peaks else "m"
    for indexes, bins in bin_chunks:
        has_samples[indexes] = True
        spectra = np.asarray(bins[f"{statistic} {parameter.name}"], dtype)
        picture[indexes] = combine_channels(spectra, group_size, use_peaks=use_peaks)
        if channel_parameter is not None:
            centers[indexes] = _find_channel_centers_per_bin(bins, channel_parameter.name)
    return SpectrumPicture(values=picture, centers=centers, has_samples=has_samples, group_size=group_size)


def find_channel_parameter_name(parameter: SampleParameter) -> str | None:
    """Return the name of the parameter that has the channels of each sample."""
    if not parameter.bins or len(parameter.dimensions) != 1:
        return None
    centers = parameter.bins[-1].centers
    if isinstance(centers, str) and centers:
        return centers
    return None


def _find_channel_centers_per_bin(bins: BinRecords, parameter_name: str) -> Numbers:
    """Return the centers of channels of each bin; NaN for bins with several lists of channels, whose mean is none."""
    mean = np.asarray(bins[f"m {parameter_name}"], np.float64)
    maximum = np.asarray(bins[f"h {parameter_name}"], np.float64)
    is_different = np.abs(maximum - mean) > 1e-6 * np.abs(maximum)
    is_mixed = np.any(is_different, axis=1, keepdims=True)
    return np.where(is_mixed, np.nan, mean)


def combine_channels(picture: Numbers, group_size: int, *, use_peaks: bool) -> Numbers:
    """Combine each `group_size` channels; the last group may have fewer."""
    if group_size == 1:
        return picture
    parts = [picture[:, offset::group_size] for offset in range(group_size)]
    initial_value = np.nan if use_peaks else 0
    grouped = np.full(parts[0].shape, initial_value, picture.dtype)
    count = np.zeros(grouped.shape, np.int32)
    for part in parts:
        columns = np.s_[:, : part.shape[1]]
        if use_peaks:
            np.fmax(grouped[columns], part, out=grouped[columns])
        else:
            is_finite = np.isfinite(part)
            np.add(grouped[columns], part, out=grouped[columns], where=is_finite)
            count[columns] += is_finite
    if use_peaks:
        return grouped
    with np.errstate(invalid="ignore", divide="ignore"):
        return grouped / count
