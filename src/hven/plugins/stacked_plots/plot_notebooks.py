"""Write a plot as a Jupyter notebook: series by hapiclient, and rows of tables by pyvo, above one time axis."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.plugins.notebooks.notebook_cells import escape_markdown
from hven.plugins.notebooks.notebook_document import NotebookCell, write_notebook
from hven.plugins.series.time_texts import format_instant
from hven.plugins.stacked_plots.table_events import write_events_query

if TYPE_CHECKING:
    from hven.plugins.stacked_plots.plot_addresses import PlotAddress
    from hven.plugins.stacked_plots.plot_reading import PlotReader

SERIES_LINES = """\
import matplotlib.pyplot as plt
import numpy as np
from hapiclient import hapi, hapitime2datetime

server = {server!r}
begin, end = {begin!r}, {end!r}
data_sets = {data_sets!r}
figure, axes = plt.subplots(len(data_sets), sharex=True, squeeze=False, figsize=(10, 3 * len(data_sets)))
for axis, data_set in zip(axes[:, 0], data_sets):
    about = hapi(server, data_set)
    data, meta = hapi(server, data_set, "", max(begin, about["startDate"]), min(end, about["stopDate"]))
    time, *parameters = meta["parameters"]
    times = hapitime2datetime(data[time["name"]])
    for parameter in parameters:
        values = data[parameter["name"]]
        if values.ndim == 1:
            axis.plot(times, values, label=f"{{parameter['name']}} ({{parameter['units']}})")
            axis.legend()
        else:
            bins = (parameter.get("bins") or [{{}}])[0]
            channels = np.asarray(bins.get("centers") or np.arange(values.shape[1]))
            axis.pcolormesh(times, channels, values.T)
            axis.set_ylabel(f"{{bins.get('name', '')}} ({{bins.get('units', '')}})")
    axis.set_title(meta["x_title"] if "x_title" in meta else data_set)
figure.autofmt_xdate()
"""
ROW_LINES = """\
import pyvo

rows = pyvo.dal.TAPService({service!r}).search({query!r}).to_table()
rows
"""


def write_plot_notebook(reader: PlotReader, address: PlotAddress, page_address: str) -> bytes:
    """Write the visible panels of a plot as a notebook.

    Parameters
    ----------
    reader
        Reader of the plot.
    address
        State of the plot, with its time span.
    page_address
        Address of the plot.

    Raises
    ------
    HvenError
        The reader has no such table.
    """
    base = reader.page_context.base
    start, stop = address.start or 0, address.stop or 0
    shown = [panel for panel in address.panels if not panel.is_hidden]
    ids = [replace(panel, is_hidden=False).to_text().replace("+", "%2B") for panel in shown if not panel.is_table]
    cells = [
        NotebookCell(
            f"# {escape_markdown(', '.join(panel.name for panel in shown))}\n\n<{page_address}>\n\n"
            "If a package is missing: `%pip install hapiclient pyvo matplotlib`"
        )
    ]
    if ids:
        series_lines = SERIES_LINES.format(
            server=f"{base}/hapi", begin=format_instant(start), end=format_instant(stop), data_sets=ids
        )
        cells.append(NotebookCell(series_lines.rstrip("\n"), is_code=True))
    for panel in shown:
        if panel.is_table:
            query = write_events_query(reader.find_table(panel.name), start, stop)
            cells.append(NotebookCell(ROW_LINES.format(service=f"{base}/tap", query=query).rstrip("\n"), is_code=True))
    return write_notebook(cells)
