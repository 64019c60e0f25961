"""Products of servers elsewhere: cut, looked into and converted by ranges, for those who may take them."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits

from hven.plugins.cutouts import rotations
from hven.services import remote_files
from hven.services.face import ServiceContext
from hven.site.auth import OWNER_PRINCIPAL
from hven.sources import remote_stores
from remote_products import CUBE, IMAGE, TABLE, open_far_client, stored_root  # noqa: F401

OBSERVED = f"""\
services: [tap, obscore, datalink, soda, sia, files]
{TABLE}    obscore:
      set: {{dataproduct_type: image, facility_name: F, instrument_name: C, calib_level: 2, s_ra: 10, s_dec: 20, s_fov: 2, s_xel1: 2000, s_xel2: 2000, access_format: application/fits, s_region: "Circle ICRS 10 20 1"}}
      text: {{access_url: "{{site.url}}/collections/far/files/{{name}}"}}
      map: {{obs_id: id}}
"""


def cut(client: Client, ident: str = "image", **more: str):
    return client.get("/soda/sync", TABLE="far.main", ID=ident, **more)


def test_they_are_looked_into_as_if_they_lay_here(open_far_client, stored_root):
    """Wherever they lie, and where readers are led to the server as well."""
    said, there = stored_root
    client = open_far_client(**said)
    found = cut(client, PIXELS_1="1001 1010", PIXELS_2="1501 1503")
    assert found.status == 200, found.text
    assert np.array_equal(fits.open(io.BytesIO(found.body))[0].data, IMAGE[1500:1503, 1000:1010])
    if said["root"].startswith("http"):  # facts, the header, and the block of these pixels
        assert [line.partition(" ")[2] for line in there.asked] == [
            "/image.fits bytes=0-1048575",
            "/image.fits bytes=11534336-12582911",
        ]
    assert cut(client, CIRCLE="100 20 0.01").status == 204
    found = cut(client, "packed", PIXELS_1="101 110", PIXELS_2="201 203")
    assert np.array_equal(fits.open(io.BytesIO(found.body))[-1].data, IMAGE[200:203, 100:110].astype("i4"))
    facts = json.loads(
        client.ask("GET", "/collections/far/cube/packed.fits", headers={"accept": "application/json"}).body
    )
    assert facts["width"] == 500
    whole = client.get("/collections/far/as/fits/cube.fits")
    assert fits.open(io.BytesIO(whole.body))[0].data.shape == (30, 20, 10)
    for ident, words in (("text", "cannot read the format"), ("empty", "is empty")):
        bad = cut(client, ident, PIXELS_1="1 2")
        assert (bad.status, words in bad.text) == (400, True), bad.text


@pytest.mark.parametrize("stored_root", ["http", "s3"], indirect=True)
def test_copies_of_cubes_and_cuts_of_sia_are_made_of_them(open_far_client, stored_root, monkeypatch):
    """A rotated copy has the values of the cube; SIA 1.0 lists cuts of images; a server that is away ends it."""
    said, there = stored_root
    client = open_far_client(**said, names=("image.fits", "text.fits", "cube.fits"), table=OBSERVED)
    around = ServiceContext.create_for_principal(client.site, OWNER_PRINCIPAL)
    spectrum = client.get("/collections/far/cube/cube.fits", SPECTRUM="4 7").body
    assert rotations.create_transposed_copies(around, OWNER_PRINCIPAL, "far", "cube.fits").bytes == CUBE.nbytes
    (copy,) = (client.site.settings.var_directory / "cubes/far").glob("*/*.npy")
    assert np.array_equal(np.load(copy), np.moveaxis(CUBE, 0, -1))
    assert client.get("/collections/far/cube/cube.fits", SPECTRUM="4 7").body == spectrum
    text = client.get("/sia/far.main/cutouts", POS="10,20", SIZE="0.1", RESPONSEFORMAT="csv").text
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["format"] == "image/fits", text
    whole = client.get("/" + row["url"].split("/", 3)[3])
    assert fits.open(io.BytesIO(whole.body))[0].data.shape == tuple(map(int, row["naxis"].split()))[::-1]
    if there is not None:
        monkeypatch.setattr(
            remote_files,
            "request_unchanged_file_state",
            lambda *_, **__: (_ for _ in ()).throw(remote_stores.build_timeout_error()),
        )
        assert "did not respond in time" in client.get("/sia/far.main/cutouts", POS="10,20", SIZE="0.1").text
