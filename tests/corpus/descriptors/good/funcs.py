"""Functions for the descriptors beside."""

import pyarrow.compute as pc


def triple(x) -> "float64":
    return pc.multiply(x, 3.0)


def initials(name, filter) -> str:
    return pc.binary_join_element_wise(pc.utf8_slice_codeunits(name, 0, 1), filter, "")
