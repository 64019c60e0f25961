"""The services that read the log of a match."""

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
