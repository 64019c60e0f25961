"""Functions for the descriptors beside."""


def triple(x) -> "float64":
    return x


def wrong(x) -> "flaot64":
    return x


def floor(x) -> float:
    return x
