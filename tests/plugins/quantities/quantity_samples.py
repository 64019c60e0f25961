"""A descriptor with quantities, and its rows."""

STARS = """\
collection: stars
title: Stars
description: Stars with quantities.
creators: [{name: Tycho Brahe}]
subjects: [stars]
functions: {file: ratio.py}
tables:
  main:
    title: Stars
    description: One row per star
    source: {kind: csv, files: a.csv}
    primary: id
    columns:
      id: {type: int32, ucd: meta.id;meta.main, description: Number}
      e_K: {description: Error that the observer wrote}
    origins:
      0: none
      2: computed
      4: {title: ASCC, url: "https://example.org/ascc"}
      14: {title: 2MASS, bibcode: 2003yCat.2246....0C}
    quantities:
      V: {unit: mag, ucd: phot.mag;em.opt.V, description: Magnitude V, value: vmag, error: e_vmag, origin: ASCC, confidence: high}
      K: {unit: mag, ucd: phot.mag;em.IR.K, value: kmag, error: e_kmag, origin: k_origin, confidence: k_quality}
      plx: {unit: mas, ucd: pos.parallax, lower: plx - 1, upper: plx + 1, origin: 4}
      VK: {unit: mag, ucd: phot.color, value: target.V - target.K, error: first order}
      ratio: {value: "ratio_of(target.V, target.K)", error: first order, confidence: low, origin: none}
      size: {unit: mas, ucd: phys.angSize, value: "POWER(10, 0.0755 * target.VK + 0.517 - 0.2 * target.K)", from: [plx], error: first order}
      sptype: {type: string, ucd: src.spType, value: sptype, origin: 4}
  plain:
    source: {kind: csv, files: a.csv}
    primary: id
    columns: {id: {type: int32, description: Number}, plx: {type: float64, unit: mas, description: Parallax}}
"""
FILES = {
    "a.csv": """\
id,vmag,e_vmag,kmag,e_kmag,k_origin,k_quality,plx,sptype
1,5.0,0.01,3.0,0.03,14,2,10.0,A0V
2,6.0,0.01,,0.02,14,3,5.0,
3,7.0,,6.0,0.1,4,,2.5,G2V
4,8.0,0.02,4.0,0.04,0,0,,K3III
""",
    "ratio.py": '''\
import pyarrow.compute as pc


def ratio_of(first, second) -> "float64":
    """Return the ratio of two magnitudes."""
    return pc.divide(first, second)
''',
}
