"""The services that read the log of a match."""

import csv

import pyarrow as pa

from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64
from hven.plugins.matching.match_columns import CANDIDATE_COLUMNS
from hven.testing.face import FaceContract

LOG = Table(
    schema="tiny",
    name="candidates",
    columns=(
        Column(name="id", type=INT64, ucd="meta.id;meta.main"),
        Column(name="ra", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main"),
        Column(name="dec", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main"),
        *CANDIDATE_COLUMNS,
    ),
    primary=("id", "catalogue", "candidate_id"),
    position=("ra", "dec"),
)
ROWS = pa.table(
    {
        "id": [1, 1, 2],
        "ra": [100.0, 100.0, 100.0001],
        "dec": [10.0, 10.0, 10.0],
        "catalogue": ["gaia"] * 3,
        "candidate_id": ["7", "8", "7"],
        "separation": [0.4, 1.2, 0.9],
        "score": [0.4, 1.2, 0.9],
        "dmag": [2.0, 0.1, None],
        "candidate_rank": pa.array([1, 2, 1], pa.int32()),
        "is_partner": [True, False, False],
        "reason": ["partner", "another candidate has a better score", "..."],
    }
)


class TestCandidates(FaceContract):
    name = "candidates"
    table = LOG
    rows = ROWS


class TestMatchLimits(FaceContract):
    name = "match_limits"
    table = LOG
    rows = ROWS

    def test_pairs_that_change_are_listed_over_http(self, tmp_path):
        """The nearest pair loses its partner when its difference in magnitude is too large; the next one gains it."""
        limits = {"CATALOGUE": "gaia", "RA": "100", "DEC": "10", "SR": "1", "RADIUS": "2", "DMAG": "1"}
        with self.open_request_sender(tmp_path) as request:
            response = request(self.path, {**limits, "RESPONSEFORMAT": "csv"})
        changes = [(row["candidate_id"], row["partner_change"]) for row in csv.DictReader(response.text.splitlines())]
        assert changes == [("7", "loses"), ("8", "gains")]
