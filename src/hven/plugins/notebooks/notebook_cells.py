"""The cells of a notebook: a query by pyvo, a look at its rows, plots, files, time series by HAPI, and the citation.

Words of descriptors and of queries are written as literals of Python, or escaped for Markdown: neither a program nor
markup can come from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.plugins.notebooks.notebook_document import NotebookCell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.portal.api.table_downloads import CitationText

_MARKDOWN_PATTERN = re.compile(r"[\\`*_{}\[\]()<>#+!|~$&]")
LOG_IN_LINES = """\
import os

import requests

session = requests.Session()  # a token of yours: see the page "Log in" of the site
session.headers["Authorization"] = "Bearer " + os.environ["HVEN_TOKEN"]
"""
SKY_PLOT = """\
import matplotlib.pyplot as plt
import numpy as np

lon = np.ma.asarray(table[{lon!r}], dtype=float)
lat = np.ma.asarray(table[{lat!r}], dtype=float)
figure = plt.figure(figsize=(9, 5))
axes = figure.add_subplot(projection="mollweide")
axes.scatter(-np.radians((lon + 180) % 360 - 180), np.radians(lat), s=4)  # east is to the left
axes.set_title({title!r})
axes.set_xticklabels([f"{{-angle}}°" for angle in range(-150, 180, 30)])
axes.grid(True)
"""
BODY_PLOT = """\
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(9, 5))
axes.scatter(table[{lon!r}], table[{lat!r}], s=4)
axes.set(xlabel={lon_label!r}, ylabel={lat_label!r}, title={title!r}, aspect="equal")
axes.grid(True)
"""
PAIR_PLOT = """\
import matplotlib.pyplot as plt

figure, axes = plt.subplots()
axes.scatter(table[{x!r}], table[{y!r}], s=4)
axes.set(xlabel={x_label!r}, ylabel={y_label!r})
"""
HISTOGRAM_PLOT = """\
import matplotlib.pyplot as plt
import numpy as np

figure, axes = plt.subplots()
axes.hist(np.ma.asarray(table[{x!r}]).compressed(), bins=50)
axes.set(xlabel={x_label!r}, ylabel="rows")
"""
SERIES_PLOT = """\
import matplotlib.pyplot as plt
from hapiclient import hapi, hapitime2datetime

server = {server!r}
data_set = {data_set!r}
about = hapi(server, data_set)
start, stop = about.get("sampleStartDate", about["startDate"]), about.get("sampleStopDate", about["stopDate"])
data, meta = hapi(server, data_set, "", start, stop)
time, *parameters = meta["parameters"]
times = hapitime2datetime(data[time["name"]])
figure, axes = plt.subplots()
for parameter in parameters:
    if data[parameter["name"]].ndim == 1 and parameter["type"] in ("double", "integer"):
        axes.plot(times, data[parameter["name"]], label=parameter["name"])
axes.legend()
figure.autofmt_xdate()
"""
FILE_DOWNLOAD = """\
from astropy.utils.data import download_file

address = str(table[{column!r}][0]) if len(table) else ""
path = download_file(address, cache=True) if address else None
address, path
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisColumn:
    """A column on an axis: its name, and its label with the unit."""

    name: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookContent:
    """What the cells of a notebook are written from.

    Attributes
    ----------
    title, address
        Title of the page, and its address; the address shows the same search again.
    summary
        What the page is about: sentences of its descriptor.
    service
        Address of the TAP service.
    query
        The query, in ADQL.
    needs_token
        Whether rows or columns are hidden from readers who are not logged in.
    positions
        Columns of longitude and latitude; None: none are selected.
    is_sky
        Whether the positions are on the sky.
    plotted
        Columns with numbers: two for a plot, one for a histogram.
    file_column
        Column of the addresses of files; empty: none is selected.
    data_sets
        Ids of time series.
    hapi
        Address of the HAPI service.
    citation
        The citation; None: no collection has one.
    licence
        Licence of the rows; empty: none is stated.
    """

    title: str
    address: str
    service: str
    query: str
    summary: str = ""
    needs_token: bool = False
    positions: tuple[AxisColumn, AxisColumn] | None = None
    is_sky: bool = False
    plotted: Sequence[AxisColumn] = ()
    file_column: str = ""
    data_sets: Sequence[str] = ()
    hapi: str = ""
    citation: CitationText | None = None
    licence: str = ""


def escape_markdown(text: str) -> str:
    """Escape a text so that Markdown shows its characters, in one line."""
    return _MARKDOWN_PATTERN.sub(r"\\\g<0>", " ".join(text.split()))


def write_cells(content: NotebookContent) -> list[NotebookCell]:
    """Write the cells of a notebook.

    Parameters
    ----------
    content
        What the notebook is about.
    """
    packages = "pyvo astropy matplotlib" + (" hapiclient" if content.data_sets else "")
    cells = [
        NotebookCell(
            f"# {escape_markdown(content.title)}\n\n{escape_markdown(content.summary)}\n\n<{content.address}>\n\n"
            f"If a package is missing: `%pip install {packages}`"
        ),
        NotebookCell(_write_query_lines(content), is_code=True),
        NotebookCell('table.info("stats")', is_code=True),
    ]
    plot = _write_plot_code(content)
    if plot:
        cells.append(NotebookCell(plot.rstrip("\n"), is_code=True))
    if content.file_column:
        cells += [
            NotebookCell("## Files\n\nThe file of the first row; a loop over the column gets them all."),
            NotebookCell(FILE_DOWNLOAD.format(column=content.file_column).rstrip("\n"), is_code=True),
        ]
    for data_set in content.data_sets:
        lines = SERIES_PLOT.format(server=content.hapi, data_set=data_set).rstrip("\n")
        cells += [NotebookCell("## Time series"), NotebookCell(lines, is_code=True)]
    if content.citation is not None:
        licence = f"\n\nLicence: {escape_markdown(content.licence)}" if content.licence else ""
        text = escape_markdown(content.citation.text)
        cells.append(NotebookCell(f"## Cite\n\n{text}{licence}\n\n{_write_code_block(content.citation.bibtex)}"))
    return cells


def _write_query_lines(content: NotebookContent) -> str:
    """Write the query by pyvo; the service tells if it did not send all rows."""
    session = ", session=session" if content.needs_token else ""
    return (
        (LOG_IN_LINES if content.needs_token else "")
        + f"import pyvo\n\nservice = pyvo.dal.TAPService({content.service!r}{session})\n"
        + f"query = {_write_text_literal(content.query)}\n"
        + "result = service.search(query)  # run_async for queries that take minutes\n"
        + "table = result.to_table()\ntable"
    )


def _write_text_literal(text: str) -> str:
    """Write a text as a literal of Python, over several lines if it has no characters that need an escape."""
    if "\\" in text or '"""' in text or text.endswith('"') or not text.replace("\n", "").isprintable():
        return repr(text)
    if "\n" in text or len(text) > 80:
        return f'"""\n{text}\n"""'
    return repr(text)


def _write_plot_code(content: NotebookContent) -> str:
    if content.positions is not None:
        lon, lat = content.positions
        names = {"lon": lon.name, "lat": lat.name, "title": content.title}
        if content.is_sky:
            return SKY_PLOT.format(**names)
        return BODY_PLOT.format(**names, lon_label=lon.label, lat_label=lat.label)
    match content.plotted:
        case [x, y, *_]:
            return PAIR_PLOT.format(x=x.name, y=y.name, x_label=x.label, y_label=y.label)
        case [x]:
            return HISTOGRAM_PLOT.format(x=x.name, x_label=x.label)
    return ""


def _write_code_block(text: str) -> str:
    """Write lines as a block of code in Markdown: they are indented, whatever they contain."""
    return "\n".join(f"    {line}" for line in text.splitlines())
