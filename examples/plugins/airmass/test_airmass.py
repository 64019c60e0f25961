"""Its tests: the contract of functions."""

from hven.testing.function import FunctionContract


class TestAirmass(FunctionContract):
    name = "airmass"
