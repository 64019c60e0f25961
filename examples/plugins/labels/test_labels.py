"""Its tests: the contract of sources."""

from hven.testing.source import SourceContract


class TestLabels(SourceContract):
    kind = "labels"
    rows = [{"PRODUCT_ID": "a", "TARGET": "MARS"}, {"PRODUCT_ID": "b", "TARGET": None}]

    def write_source_files(self, directory):
        (directory / "a.lbl").write_text('PRODUCT_ID = a\nTARGET = "MARS"\nEND\n')
        (directory / "b.lbl").write_text("PRODUCT_ID = b\nEND\n")
        return {"files": "*.lbl", "keys": ["PRODUCT_ID", "TARGET"]}
