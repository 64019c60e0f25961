"""Arrays of integers are sorted without repeated values, as `numpy.unique` does."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hven.model.sky.api.ragged_arrays import sort_distinct

integers = st.sampled_from([np.dtype(name) for name in ("i4", "i8", "u8")]).flatmap(
    lambda dtype: arrays.arrays(dtype, st.integers(0, 40), elements=st.integers(0, 20) | arrays.from_dtype(dtype))
)


@given(integers)
def test_distinct_values_are_those_of_numpy(values):
    distinct = sort_distinct(values)
    assert distinct.dtype == values.dtype
    assert distinct.tolist() == np.unique(values).tolist()
