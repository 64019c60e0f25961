"""What every ADQL function must honour: subclass `FunctionContract`, name its entry point, and pytest runs it."""

from __future__ import annotations

from ast import literal_eval
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hven.adql import bind_query, parse_query
from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.scope import StaticCatalogue
from hven.engines import ExecutionLimits
from hven.model import plugins

if TYPE_CHECKING:
    from pathlib import Path

    from hven.adql.signatures import FunctionDefinition
    from hven.engines import StorageEngine


class FunctionContract:
    """The promises of `hven.adql.signatures.FunctionDefinition`.

    Pytest collects subclasses whose names begin with ``Test``.

    Attributes
    ----------
    name
        Of the entry point.
    """

    name: ClassVar[str]

    def open_engine(self, directory: Path) -> StorageEngine:
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
        plugin = plugins.load_plugin("engines", "duckdb")
        engine: StorageEngine = plugin.open(directory, memory=1 << 28)
        return engine

    @property
    def function(self) -> FunctionDefinition:
        """The function itself."""
        loaded_function: FunctionDefinition = plugins.load_plugin("functions", self.name).FUNCTION
        return loaded_function

    def test_its_example_is_true(self, tmp_path: Path) -> None:
        """Whatever engine computes it."""
        call, _, expected_text = self.function.example.partition(" is ")
        query = parse_query(f"SELECT {call} AS answer")
        bound = bind_query(query, StaticCatalogue([]), functions=MAPPING_FUNCTIONS)
        engine = self.open_engine(tmp_path)
        rows = [
            row
            for batch in engine.plan_query(bound).execute(bound.literal_values, {}, ExecutionLimits())
            for row in batch.to_pylist()
        ]
        engine.close()
        computed_value = rows[0]["answer"]
        expected_value = literal_eval(expected_text.lstrip("~").replace("NULL", "None"))
        assert computed_value == expected_value or (
            expected_text.startswith("~") and np.allclose(computed_value, expected_value, rtol=2e-9, atol=0)
        ), computed_value

    def test_it_says_what_it_is(self) -> None:
        """In each language that it has words of."""
        entry = self.function
        assert entry.name.isupper()
        assert entry.doc
        assert entry.example.startswith(f"{entry.name}(")
        assert all(entry.doc in words for words in entry.texts.values())


__all__ = ["FunctionContract"]
