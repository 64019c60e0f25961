"""Tables to upload, and requests that upload them with a query."""

from __future__ import annotations

import io
import warnings

import numpy as np
from asgi_client import Answer, Client
from astropy.io.votable import from_table, writeto
from astropy.io.votable.exceptions import W03
from astropy.table import MaskedColumn, Table


def votable(table: Table, form: str = "binary2") -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", W03)  # names with blanks get other IDs, as they must
        writeto(from_table(table), out, tabledata_format=form)
    return out.getvalue()


def send(client: Client, query: str, files: dict[str, bytes], **params: str) -> Answer:
    """POST as browsers, requests and STILTS do: every file a part of its own."""
    mark = "----a7c1"
    body = b""
    given = {"LANG": "ADQL", "QUERY": query, "UPLOAD": ";".join(f"{name},param:{name}" for name in files), **params}
    for name, value in given.items():
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, content in files.items():
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.dat"\r\n'.encode()
        body += b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
    body += f"--{mark}--\r\n".encode()
    return client.ask("POST", "/tap/sync", body=body, headers={"content-type": f"multipart/form-data; boundary={mark}"})


def build_upload_table() -> Table:
    table = Table(
        {
            "name": ["Ça va", "", "it's <b>", "d"],
            "ra": [219.9, 0.0, 359.999999999, 1e-300],
            "small": np.array([1, -2, 3, 4], np.int16),
            "big": np.array([2**62, -(2**62), 0, 1]),
            "flag": [True, False, True, False],
            "of the day": np.array([1.5, np.inf, -0.0, 2], np.float32),
            "SELECT": np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.int32),
        }
    )
    table["mag"] = MaskedColumn(
        [1.0, 2.0, 3.0, 4.0], mask=[False, True, False, True], unit="mag", description="how bright"
    )
    table["count"] = MaskedColumn([1, 2, 3, 4], mask=[True, False, False, False], dtype=np.int32)
    table["mag"].meta["ucd"] = "phot.mag"
    table["ra"].unit = "deg"
    return table
