"""A descriptor of stars with the key `getstar`, and its rows."""

STARS = """\
collection: stars
title: Stars
description: Stars with quantities.
creators: [{name: Tycho Brahe}]
subjects: [stars]
tables:
  main:
    title: Stars
    description: One row per star
    source: {kind: csv, files: a.csv}
    primary: main_id
    access: {rows: "public_row = 1"}
    columns:
      main_id: {type: string, ucd: meta.id, description: Name}
      HD: {type: int32, ucd: meta.id, description: Number, link: "https://example.org/sim?Ident=HD{HD}&q={main_id}", section: Names}
      TYC1: {type: int32, description: First number}
      TYC2: {type: int32, description: Second number}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      variable: {type: bool, description: Whether it varies}
      note: {type: string, description: "Remark with <, & and \\"quotes\\""}
      public_row: {type: int16, hidden: true}
    origins: {0: NO CATALOG, 2: computed, 4: {title: I/280, url: "https://example.org/ascc"}, 14: {title: II/246, bibcode: 2003yCat.2246....0C}}
    quantities:
      V: {unit: mag, ucd: phot.mag;em.opt.V, description: Magnitude V, value: vmag, error: e_vmag, origin: I/280, confidence: high, section: Photometry}
      K: {unit: mag, ucd: phot.mag;em.IR.K, value: kmag, error: e_kmag, origin: II/246, confidence: medium, section: Photometry}
      VK: {unit: mag, ucd: phot.color, value: target.V - target.K, error: first order, section: Photometry}
    getstar:
      names: ["{main_id}", "HD {HD}", "TYC {TYC1}-{TYC2}"]
      links: {SIMBAD: "https://example.org/simbad?Ident={main_id}", Unsafe: "javascript:alert({HD})"}
      fields: {main_id: SIMBAD, VK: {name: V-K, ucd: PHOT_JHN_V-K}}
      server: SearchCal Server v6.0.0
      style_sheet: https://example.org/getstar.xsl
"""
FILES = {
    "a.csv": """\
main_id,HD,TYC1,TYC2,ra,dec,variable,note,vmag,e_vmag,kmag,e_kmag,public_row
* alf CMa,48915,5949,2777,101.28715533,-16.71611586,true,a <b> & c,-1.09,0.01,-1.39,0.2,1
* alf Lyr,172167,3105,2070,279.23473479,38.78368896,false,,0.03,0.01,0.13,0.19,1
NGC 1,,1,1,0.00001,89.99999,,,9.0,,,,1
zqhidden,7,9,9,10,10,false,zqsecret,5,0.1,4,0.1,0
""",
}
