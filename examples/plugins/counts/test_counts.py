"""Its tests: the contract of panes."""

from hven.testing.pane import PaneContract


class TestCounts(PaneContract):
    name = "counts"
