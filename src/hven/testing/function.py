"""What every ADQL function must honour: subclass `FunctionContract`, name its entry point, and pytest runs it."""

from __future__ import annotations

from ast import literal_eval
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hven.adql import bind, parse
from hven.adql.functions import MAPPING
from hven.adql.scope import Tables
from hven.engines import Limits
from hven.model import plugins

if TYPE_CHECKING:
    from pathlib import Path

    from hven.adql.signatures import Entry
    from hven.engines import Engine


class FunctionContract:
    """The promises of `hven.adql.signatures.Entry`. pytest collects subclasses whose names begin with ``Test``.

    Attributes
    ----------
    name
        Of the entry point.
    """

    name: ClassVar[str]

    def open(self, directory: Path) -> Engine:
        """Open an engine that computes the function; override it to try another one than the embedded.

        Parameters
        ----------
        directory
            An empty one.

        Returns
        -------
        engine
            The tests close it.
        """
        engine: Engine = plugins.load("engines", "duckdb").open(directory, memory=1 << 28)
        return engine

    @property
    def function(self) -> Entry:
        """The function itself."""
        found: Entry = plugins.load("functions", self.name).FUNCTION
        return found

    def test_its_example_is_true(self, tmp_path: Path) -> None:
        """Whatever engine computes it."""
        call, _, said = self.function.example.partition(" is ")
        bound = bind(parse(f"SELECT {call} AS answer"), Tables([]), functions=MAPPING)
        engine = self.open(tmp_path)
        rows = [row for batch in engine.prepare(bound).execute(bound.slots, {}, Limits()) for row in batch.to_pylist()]
        engine.close()
        found, wanted = rows[0]["answer"], literal_eval(said.lstrip("~").replace("NULL", "None"))
        assert found == wanted or (said.startswith("~") and np.allclose(found, wanted, rtol=2e-9, atol=0)), found

    def test_it_says_what_it_is(self) -> None:
        """In each language that it has words of."""
        entry = self.function
        assert entry.name.isupper()
        assert entry.doc
        assert entry.example.startswith(f"{entry.name}(")
        assert all(entry.doc in words for words in entry.texts.values())


__all__ = ["FunctionContract"]
