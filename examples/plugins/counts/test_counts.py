"""Its tests: the contract of panes."""

from hven.testing.portal_pane import PaneContract


class TestCounts(PaneContract):
    name = "counts"
