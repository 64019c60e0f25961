"""AIRMASS(altitude): a function of ADQL of one's own, whole in this file."""

from hven.adql.signatures import define_function

_SQL = "CASE WHEN {0} BETWEEN 0 AND 90 THEN 1 / (sin(radians({0})) + 0.50572 * power({0} + 6.07995, -1.6364)) END"

FUNCTION = define_function(
    "udf",
    "AIRMASS",
    "(altitude NUMERIC) -> DOUBLE",
    doc="Relative air mass at an altitude in degrees (Kasten and Young 1989); NULL below the horizon.",
    example="AIRMASS(30) is ~1.994292853",
    sql={"duckdb": _SQL, "postgres": _SQL},
    texts={"fr": {
        "Relative air mass at an altitude in degrees (Kasten and Young 1989); NULL below the horizon.":
        "Masse d'air relative à une hauteur en degrés (Kasten et Young 1989) ; NULL sous l'horizon.",
    }},
)  # fmt: skip
