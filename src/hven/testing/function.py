"""Test the contract of ADQL functions: subclass `FunctionContract`, name the entry point, and pytest runs the tests."""

from __future__ import annotations

from ast import literal_eval
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hven.adql import bind_query, parse_query
from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits
from hven.model import plugins

if TYPE_CHECKING:
    from pathlib import Path

    from hven.adql.signatures import FunctionDefinition
    from hven.engines import StorageEngine


class FunctionContract:
    """Test what every `hven.adql.signatures.FunctionDefinition` must do.

    Pytest collects subclasses whose names begin with ``Test``.

    Attributes
    ----------
    name
        Name of the entry point.
    """

    name: ClassVar[str]

    def open_engine(self, directory: Path) -> StorageEngine:
        """Open an engine that computes the function; override it to test another engine than the embedded one.

        Parameters
        ----------
        directory
            An empty directory.

        Returns
        -------
        engine
            An open engine; the tests close it.
        """
        plugin = plugins.load_plugin("engines", "duckdb")
        engine: StorageEngine = plugin.open(directory, memory=1 << 28)
        return engine

    @property
    def function(self) -> FunctionDefinition:
        """The tested function."""
        loaded_function: FunctionDefinition = plugins.load_plugin("functions", self.name).FUNCTION
        return loaded_function

    def test_its_example_is_true(self, tmp_path: Path) -> None:
        """The engine computes the value that the example promises."""
        call, _, expected_text = self.function.example.partition(" is ")
        query = parse_query(f"SELECT {call} AS answer")
        bound = bind_query(query, StaticTableCatalogue([]), functions=MAPPING_FUNCTIONS)
        engine = self.open_engine(tmp_path)
        execution = engine.plan_query(bound).execute(bound.literal_values, {}, ExecutionLimits())
        rows = []
        for batch in execution:
            rows += batch.to_pylist()
        engine.close()
        computed_value = rows[0]["answer"]
        expected_value = literal_eval(expected_text.lstrip("~").replace("NULL", "None"))
        if expected_text.startswith("~"):
            assert np.allclose(computed_value, expected_value, rtol=2e-9, atol=0), computed_value
        else:
            assert computed_value == expected_value, computed_value

    def test_the_function_describes_itself(self) -> None:
        """The function has a name, a description, an example, and a translation of the description in each language."""
        entry = self.function
        assert entry.name.isupper()
        assert entry.doc
        assert entry.example.startswith(f"{entry.name}(")
        assert all(entry.doc in words for words in entry.texts.values())


__all__ = ["FunctionContract"]
