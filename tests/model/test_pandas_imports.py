"""Programs of Hven do not load pandas (which hapiclient brings here); code of others that runs in them may."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from hven.model import refuse_pandas_imports, is_module_installed, restore_pandas_imports
refuse_pandas_imports()
import pyarrow as pa
{first}
print("pandas" in sys.modules and sys.modules["pandas"] is not None, is_module_installed("pandas"))
restore_pandas_imports()
import pandas
print(pa.array(pandas.Series([1.5, float("nan")])).null_count)
"""


@pytest.mark.parametrize(
    "first", ["pa.array(['a'])", "import hven.engines.duckdb.query_execution", "import hven.model.literal"]
)
def test_arrow_finds_pandas_only_once_it_is_shown(first: str) -> None:
    words = [sys.executable, "-c", PROGRAM.format(first=first)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "1"]  # Arrow takes NaN of data frames alone for null


def test_libraries_may_ask_whether_pandas_is_installed() -> None:
    program = (
        "import importlib.util\nfrom hven.model import refuse_pandas_imports\nrefuse_pandas_imports()\n"
        "importlib.util.find_spec('pandas')\n"
        "try: import pandas\nexcept ModuleNotFoundError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "No module named 'pandas'\n"


def test_whoever_has_pandas_keeps_it() -> None:
    program = "import pandas; from hven.model import refuse_pandas_imports; refuse_pandas_imports(); import pandas.core.frame; import pyarrow as pa; print(pa.array(pandas.Series([float('nan')])).null_count)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_a_plugin_may_use_pandas(tmp_path) -> None:
    (tmp_path / "hven_frames.py").write_text("import pandas\nFORMAT = None\n")
    info = tmp_path / "hven_frames-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hven-frames\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[hven.jobs]\nframes = hven_frames\n")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom hven.model import plugins, refuse_pandas_imports\nrefuse_pandas_imports()\n"
        "try: plugins.load_plugin('jobs', 'frames')\nexcept Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "has no JOB of the class" in done.stdout  # it was imported, and judged only then
