"""Faults to plant, each with the codes that must be found: nothing less, nothing more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tap_server import Column, World


@dataclass(frozen=True)
class Fault:
    """What is done to the service, and what lint must say."""

    codes: frozenset[str]
    plant: Callable[[World], None]
    why: str = ""

    @property
    def name(self) -> str:
        return self.why or "+".join(sorted(self.codes))


def _fault(codes: str, plant: Callable[[World], Any], why: str = "") -> Fault:
    return Fault(frozenset(codes.split()), plant, why)


def _row(table: str, **values: Any) -> Callable[[World], None]:
    """Change the second row of a table."""
    return lambda world: world.table(table).rows[1].update(values)


def epn(**values: Any) -> Callable[[World], None]:
    return _row("demo.epn_core", **values)


def obs(**values: Any) -> Callable[[World], None]:
    return _row("ivoa.obscore", **values)


def column(table: str, name: str, **values: Any) -> Callable[[World], None]:
    """Change what is declared, everywhere, about a column."""
    return lambda world: world.table(table).column(name).__dict__.update(values)


def text(document: str, old: str, new: str) -> Callable[[World], None]:
    return lambda world: world.replaced.append((document, old, new))


def does(*words: str) -> Callable[[World], None]:
    return lambda world: world.does.update(words)


def sql(*edits: str) -> Callable[[World], None]:
    return lambda world: world.schema_edits.extend(edits)


def _add(table: str, *columns: Column) -> Callable[[World], None]:
    return lambda world: world.table(table).columns.extend(columns)


def _without(*names: str) -> Callable[[World], None]:
    return lambda world: setattr(world, "tables", [one for one in world.tables if one.name not in names])


def _both(*plants: Callable[[World], None]) -> Callable[[World], None]:
    return lambda world: [plant(world) for plant in plants] and None


E, OBS, R = "demo.epn_core", "ivoa.obscore", "ivoa.obscore_radio"

FAULTS = [
    # --- documents
    _fault("vosi.availability-missing", lambda w: (does("no-availability")(w), text("capabilities", "VOSI#availability", "VOSI#other")(w))),
    _fault("vosi.declared-absent", does("no-tables"), "/tables is declared but gone"),
    _fault("vosi.availability-shape", text("availability", "<a:available>true</a:available>", "")),
    _fault("vosi.availability-time", text("availability", "2026-01-01T00:00:00Z", "yesterday")),
    _fault("vosi.not-available", text("availability", "true", "false")),
    _fault("vosi.tables-shape", text("tables", "<schema><name>demo</name>", "<schema><title>x</title><name>demo</name>")),
    _fault("vosi.capabilities-shape", text("capabilities", "</dataModel>", "</dataModel><colour>red</colour>")),
    _fault("vosi.undeclared", text("capabilities", "VOSI#availability", "VOSI#other")),
    # --- capabilities
    _fault("cap.tap-count", lambda w: w.replaced.append(("capabilities", "</vosi:capabilities>", '<capability standardID="ivo://ivoa.net/std/TAP"/></vosi:capabilities>'))),
    _fault("cap.version", text("capabilities", ' version="1.1"', ' version="1.0"')),
    _fault("cap.no-standard-interface", text("capabilities", ' role="std" version="1.1"', ' version="1.1"')),
    _fault("cap.address cap.vosi-address", text("capabilities", '<accessURL use="base">http://world.example/tap', '<accessURL use="base">http://world.example/elsewhere')),
    _fault("cap.adql-version", text("capabilities", "#v2.0", "#v2.1")),
    _fault("cap.function-form", text("capabilities", "(hashlist TEXT, item TEXT) -> INTEGER", "(hashlist, item)")),
    _fault("cap.feature-type epn.function", lambda w: (text("capabilities", "#features-udf", "#features-magic")(w), text("capabilities", "ivo_hashlist_has", "other_has")(w))),
    _fault("cap.geometry-name", text("capabilities", "</languageFeatures>", '</languageFeatures><languageFeatures type="ivo://ivoa.net/std/TAPRegExt#features-adqlgeo"><feature><form>TRIANGLE</form></feature></languageFeatures>')),
    _fault("cap.upload-missing", text("capabilities", "<outputLimit>", '<uploadMethod ivo-id="ivo://ivoa.net/std/TAPRegExt#upload-inline"/><outputLimit>')),
    _fault("cap.limit", text("capabilities", '<default unit="row">20000', '<default unit="row">200000')),
    _fault("cap.media-type output.failed", text("capabilities", "<mime>text/csv</mime>", "<mime>comma separated</mime>")),
    _fault("cap.security-method", text("capabilities", '<accessURL use="base">http://world.example/tap</accessURL>', '<accessURL use="base">http://world.example/tap</accessURL><securityMethod standardID="ivo://ivoa.net/sso#handshake"/>')),
    _fault("cap.address-form", text("capabilities", "http://world.example/tap/availability", "availability")),
    _fault("cap.data-model vosi.capabilities-shape", text("capabilities", "<outputLimit>", '<dataModel ivo-id="RegTAP">RegTAP</dataModel><outputLimit>')),
    _fault("cap.no-adql", text("capabilities", "<name>ADQL</name>", "<name>SQL</name>")),
    _fault("cap.no-votable", text("capabilities", '<outputFormat ivo-id="ivo://ivoa.net/std/TAPRegExt#output-votable-td"><mime>application/x-votable+xml</mime><alias>votable</alias></outputFormat>', "")),
    _fault("cap.output-key", text("capabilities", "#output-votable-td", "#output-votable-xyz")),
    _fault("cap.upload-method cap.upload-missing", text("capabilities", "<outputLimit>", '<uploadMethod ivo-id="ivo://ivoa.net/std/TAPRegExt#upload-pigeon"/><outputLimit>')),
    _fault("cap.server-header", does("anonymous")),
    # --- TAP_SCHEMA
    _fault("schema.flag", sql("UPDATE TAP_SCHEMA.columns SET principal = 7 WHERE column_name = 'c1min'")),
    _fault("schema.null", sql("UPDATE TAP_SCHEMA.tables SET table_type = NULL WHERE table_name = 'demo.epn_core'")),
    _fault("schema.orphan", sql("INSERT INTO TAP_SCHEMA.columns SELECT 'demo.ghosts', column_name, datatype, arraysize, xtype, \"size\", description, utype, unit, ucd, indexed, principal, std, column_index FROM TAP_SCHEMA.columns WHERE column_name = 'c1min'")),
    _fault("schema.duplicate", sql("INSERT INTO TAP_SCHEMA.columns SELECT * FROM TAP_SCHEMA.columns WHERE column_name = 'c1min'")),
    _fault("schema.arraysize", sql("UPDATE TAP_SCHEMA.columns SET arraysize = '*12' WHERE column_name = 'target_class'")),
    _fault("schema.size", sql("UPDATE TAP_SCHEMA.columns SET arraysize = '12*', \"size\" = 13 WHERE column_name = 'target_name'")),
    _fault("schema.datatype tables.type tables.field-type epn.type", sql("UPDATE TAP_SCHEMA.columns SET datatype = 'number' WHERE column_name = 'incidence_min'")),
    _fault("schema.std", sql("UPDATE TAP_SCHEMA.columns SET std = 0 WHERE table_name = 'TAP_SCHEMA.keys' AND column_name = 'utype'")),
    _fault("schema.itself tables.only-in-tables schema.orphan", sql("DELETE FROM TAP_SCHEMA.tables WHERE table_name = 'TAP_SCHEMA.keys'")),
    _fault("schema.missing-column", lambda w: w.table("TAP_SCHEMA.keys").drop("description")),
    _fault("schema.column-type", column("TAP_SCHEMA.tables", "table_index", datatype="double")),
    _fault("schema.column-name tables.field-missing tables.field-undeclared tables.only-in-schema tables.only-in-tables", sql("UPDATE TAP_SCHEMA.columns SET column_name = 'key-id' WHERE table_name = 'TAP_SCHEMA.keys' AND column_name = 'description'")),
    _fault("schema.table-type", sql("UPDATE TAP_SCHEMA.tables SET table_type = 'heap' WHERE table_name = 'demo.epn_core'")),
    # --- consistency
    _fault("tables.unit", text("tables", "<name>local_time_min</name><description>what it is</description><unit>h</unit>", "<name>local_time_min</name><description>what it is</description><unit>s</unit>")),
    _fault("tables.ucd", text("tables", "<ucd>time.scale</ucd>", "<ucd>time</ucd>")),
    _fault("tables.type", text("tables", '<name>processing_level</name><description>what it is</description><ucd>meta.calibLevel</ucd><dataType xsi:type="vs:VOTableType">int', '<name>processing_level</name><description>what it is</description><ucd>meta.calibLevel</ucd><dataType xsi:type="vs:VOTableType">double')),
    _fault("tables.only-in-schema", text("tables", '<column><name>time_scale</name><description>what it is</description><ucd>time.scale</ucd><dataType xsi:type="vs:VOTableType" arraysize="*">char</dataType><flag>std</flag></column>', "")),
    _fault("tables.foreign-key schema.keys", sql("DELETE FROM TAP_SCHEMA.key_columns WHERE key_id = '5'", "DELETE FROM TAP_SCHEMA.keys WHERE key_id = '5'")),
    _fault("tables.field-unit", text("votable", ' unit="kbyte"', "")),
    _fault("tables.field-missing tables.only-in-schema", sql("INSERT INTO TAP_SCHEMA.columns SELECT table_name, 'phantom', datatype, arraysize, xtype, \"size\", description, utype, unit, ucd, indexed, principal, std, column_index FROM TAP_SCHEMA.columns WHERE table_name = 'demo.epn_core' AND column_name = 'target_name'")),
    _fault("tables.field-undeclared tables.only-in-tables", sql("DELETE FROM TAP_SCHEMA.columns WHERE table_name = 'demo.epn_core' AND column_name = 'time_scale'")),
    _fault("tables.field-ucd", text("votable", ' ucd="meta.checksum;meta.file"', "")),
    _fault("tables.field-utype", text("votable", ' utype="obscore:DataID.observationID"', "")),
    _fault("tables.field-xtype", text("votable", ' xtype="moc"', "")),
    _fault("tables.field-type", text("votable", 'name="calib_level" datatype="int"', 'name="calib_level" datatype="long"')),
    _fault("tables.cell epn.access", text("votable", "<TD>2000</TD><TD>0123456789abcdef", "<TD>many</TD><TD>0123456789abcdef")),
    _fault("tables.indexed", text("tables", '<name>granule_gid</name><description>what it is</description><ucd>meta.id</ucd><dataType xsi:type="vs:VOTableType" arraysize="*">char</dataType>', '<name>granule_gid</name><description>what it is</description><ucd>meta.id</ucd><dataType xsi:type="vs:VOTableType" arraysize="*">char</dataType><flag>indexed</flag>')),
    # --- metadata
    _fault("meta.unit", _add(E, Column("demo_size", "double", unit="furlongs per fortnight", ucd="phys.size"))),
    _fault("meta.unit-form", _add(E, Column("demo_size", "double", unit="degree", ucd="phys.angSize"))),
    _fault("meta.ucd", _add(E, Column("demo_size", "double", unit="deg", ucd="phys.bigness"))),
    _fault("meta.ucd-deprecated", _add(E, Column("demo_ra", "double", unit="deg", ucd="POS_EQ_RA"))),
    _fault("meta.column-description", column(E, "target_name", description="")),
    _fault("meta.table-description", lambda w: setattr(w.epn, "description", "")),
    _fault("meta.angle-unit", _add(E, Column("demo_ra", "double", ucd="pos.eq.ra"))),
    _fault("meta.xtype", _add(E, Column("demo_time", ucd="time.epoch", xtype="datetime"))),
    _fault("meta.xtype-type", _add(E, Column("demo_time", "double", unit="d", ucd="time.epoch", xtype="timestamp"))),
    # --- queries
    _fault("query.overflow", does("no-overflow"), "cut without a word"),
    _fault("query.top", does("no-top"), "TOP is not kept"),
    _fault("query.status", text("votable", '<INFO name="QUERY_STATUS" value="OK"/>', "")),
    _fault("query.content-type output.media-type", does("html-media")),
    _fault("query.version", text("votable", 'version="1.4"', 'version="1.0"')),
    _fault("query.resource", text("votable", '<RESOURCE type="results">', '<RESOURCE type="meta">')),
    _fault("query.extra-parameter", does("strict")),
    _fault("query.language", does("any-language")),
    _fault("query.case", does("case")),
    _fault("query.language-version", text("capabilities", '<version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version>', '<version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version><version ivo-id="ivo://ivoa.net/std/ADQL#v2.1">2.1</version>')),
    _fault("query.maxrec query.maxrec-zero", does("no-maxrec")),
    _fault("query.get", does("get")),
    _fault("query.columns query.count", does("renames")),
    _fault("query.boolean", does("no-not")),
    # --- errors
    _fault("error.inside", does("talkative")),
    _fault("error.table", text("error", "</INFO>", "</INFO><TABLE/>")),
    _fault("error.missing-query", does("no-query")),
    _fault("error.success uws.error", does("forgiving")),
    _fault("error.document error.http-status uws.error", does("html-errors")),
    _fault("error.message", does("mute")),
    # --- outputs
    _fault("output.media-type", does("no-csv")),
    _fault("output.unknown", does("any-format")),
    _fault("output.unreadable", does("ragged")),
    _fault("output.serialization", text("capabilities", "#output-votable-td", "#output-votable-binary2")),
    # --- jobs
    _fault("uws.id", text("job", "<uws:jobId>", "<uws:jobId>job-")),
    _fault("uws.result uws.error", does("no-result"), "neither results nor errors of jobs"),
    _fault("uws.run", does("broken-jobs")),
    _fault("uws.atom-type", does("xml-atoms")),
    _fault("uws.list", does("list")),
    _fault("uws.first-phase uws.parameters", _both(does("eager"), text("job", 'id="LANG"', 'id="IDIOM"'))),
    _fault("uws.create", does("no-redirect")),
    _fault("uws.shape", text("job", 'version="1.1"><uws:jobId>', 'version="1.1"><uws:runId/><uws:jobId>')),
    _fault("uws.time", text("job", "<uws:creationTime>2026-01-01T00:00:00Z", "<uws:creationTime>2026-01-01 00:00:00")),
    _fault("uws.duration", text("executionduration", "600", "ten minutes")),
    _fault("uws.atom", text("destruction", "2027", "2028")),
    _fault("uws.delete", does("no-action"), "destroyed by DELETE alone"),
    _fault("uws.change", does("fixed")),
    _fault("uws.abort", does("no-abort")),
    _fault("uws.delete", does("immortal")),
    _fault("uws.unknown uws.delete", does("any-job")),
    _fault("uws.error", does("never-wrong")),
    # --- examples
    _fault("examples.shape", text("examples", "</pre>", "")),
    _fault("examples.vocabulary", text("examples", "http://www.ivoa.net/rdf/examples#", "http://example.org/words#")),
    _fault("examples.query", text("examples", "target_name = ", "target_nom = ")),
    _fault("examples.property", text("examples", 'property="name"', 'class="name"')),
    _fault("examples.identifier", text("examples", 'resource="#mars"', 'resource="#venus"')),
    _fault("examples.table", text("examples", ">demo.epn_core</span>", ">demo.nothing</span>")),
    _fault("examples.declared-absent", does("no-examples")),
    _fault("examples.none", text("examples", 'typeof="example"', 'class="example"')),
    _fault("examples.undeclared", text("capabilities", "DALI#examples", "DALI#other")),
    _fault("examples.content-type", does("plain-examples")),
    # --- EPN-TAP: the table
    _fault("epn.utype", lambda w: setattr(w.epn, "utype", "")),
    _fault("epn.old-utype", lambda w: setattr(w.epn, "utype", "ivo://vopdc.obspm/std/epncore#schema-2.0")),
    _fault("epn.name examples.query examples.table", lambda w: setattr(w.epn, "name", "demo.granules")),
    _fault("epn.missing-column", lambda w: w.epn.drop("processing_level")),
    _fault("epn.type", column(E, "incidence_min", datatype="char", arraysize="*")),
    _fault("epn.precision", column(E, "time_min", datatype="float")),
    _fault("epn.unit", column(E, "spectral_range_min", unit="m")),
    _fault("epn.ucd", column(E, "spectral_range_min", ucd="em.wl;stat.min")),
    _fault("epn.xtype meta.time-type", column(E, "creation_date", xtype="")),
    _fault("epn.region-xtype", column(E, "s_region", xtype="")),
    _fault("epn.pair", lambda w: w.epn.drop("local_time_max")),
    _fault("epn.frame-unit", column(E, "c3min", unit="m")),
    _fault("epn.frame-ucd", column(E, "c1min", ucd="pos.eq.ra;stat.min")),
    _fault("epn.column-name", _add(E, Column("Demo_Size", "double"))),
    _fault("epn.reserved", _add(E, Column("accref"))),
    _fault("epn.access-columns", lambda w: w.epn.drop("access_estsize")),
    _fault("epn.function", text("capabilities", "ivo_hashlist_has", "demo_has")),
    # --- EPN-TAP: the rows
    _fault("epn.condition", does("untyped processing_level")),
    _fault("obscore.condition", does("untyped s_xel1")),
    _fault("radio.condition", does("untyped instr_tel_number")),
    _fault("epn.null", epn(granule_gid=None)),
    _fault("epn.half-interval", epn(time_exp_max=None)),
    _fault("epn.interval-order", epn(time_exp_max=0.01)),
    _fault("epn.product-type", epn(dataproduct_type="sc#xx")),
    _fault("epn.target-class", epn(target_class="planet#moon")),
    _fault("epn.frame footprint.frame", epn(spatial_frame_type="bodily")),
    _fault("epn.processing-level", epn(processing_level=9)),
    _fault("epn.level-four", epn(processing_level=4)),
    _fault("epn.service-title", epn(service_title="other")),
    _fault("epn.timestamp", epn(creation_date="2024-13-01")),
    _fault("epn.local-time", epn(local_time_max=25.0)),
    _fault("epn.messenger", epn(messenger="infrared")),
    _fault("epn.time-scale", epn(time_scale="utc")),
    _fault("epn.geometry-type", epn(geometry_type="sideways")),
    _fault("epn.particle-type", epn(particle_spectral_type="charm")),
    _fault("epn.inchikey", epn(species_inchikey="water")),
    _fault("epn.julian-date", epn(time_min=53000.5, time_max=53000.6)),
    _fault("epn.duplicate", epn(granule_uid="cube_1")),
    _fault("epn.uid-form", epn(granule_uid="cube#2")),
    _fault("epn.text", epn(instrument_name="OMEGA ")),
    _fault("epn.quotes", epn(target_name='"Mars"')),
    _fault("epn.list", epn(instrument_name="OMEGA # HRSC")),
    _fault("epn.lower-case epn.media-type", epn(access_format="Application/FITS")),
    _fault("epn.longitude", epn(c1max=361.0, s_region=None)),
    _fault("epn.latitude", epn(c2max=91.0)),
    _fault("epn.no-frame footprint.frame", epn(spatial_frame_type="none")),
    _fault("epn.angle", epn(incidence_max=190.0)),
    _fault("epn.negative", epn(time_exp_min=-1.0)),
    _fault("epn.access", epn(access_estsize=None)),
    _fault("epn.url", epn(access_url="archive/cube_2.fits")),
    _fault("epn.measurement", epn(measurement_type="phys.reflectivity")),
    _fault("epn.date-order", epn(modification_date="2023-01-01")),
    _fault("epn.md5", epn(access_md5="abc")),
    _fault("epn.file-name", epn(file_name="data/cube_2.fits")),
    _fault("epn.reference", epn(internal_reference="cube_1#cube_99")),
    _fault("epn.target-time", epn(target_time_min="2010-01-01T00:00:00", target_time_max="2010-01-01T00:00:00")),
    # --- footprints
    _fault("footprint.unreadable", epn(s_region="POLYGON 20 5 24 5"), "a polygon with two corners"),
    _fault("footprint.off-sphere", epn(s_region="POLYGON 20 5 24 5 24 95")),
    _fault("footprint.orientation", epn(s_region="POLYGON 20 5 20 13 24 13 24 5"), "the wrong way round on a body"),
    _fault("footprint.orientation", obs(s_region="POLYGON ICRS 41.5 19.5 42.5 19.5 42.5 20.5 41.5 20.5"), "the wrong way round on the sky"),
    _fault("footprint.closed", epn(s_region="POLYGON 20 5 24 5 24 13 20 13 20 5")),
    _fault("footprint.bounds", epn(s_region="POLYGON 120 5 124 5 124 13 120 13")),
    _fault("footprint.centre", obs(s_ra=140.0)),
    _fault("footprint.moc", epn(coverage="3/800")),
    _fault("footprint.disagree", epn(coverage="6/0 1 2")),
    # --- ObsCore
    _fault("obscore.undeclared", text("capabilities", '<dataModel ivo-id="ivo://ivoa.net/std/ObsCore#core-1.1">ObsCore-1.1</dataModel>', "")),
    _fault("obscore.model", text("capabilities", "ivo://ivoa.net/std/ObsCore#core-1.1", "ivo://ivoa.net/std/ObsCore/v1.0")),
    _fault("obscore.missing-column", lambda w: w.obscore.drop("t_xel")),
    _fault("obscore.type", column(OBS, "em_min", datatype="char", arraysize="*")),
    _fault("obscore.unit", column(OBS, "em_min", unit="um")),
    _fault("obscore.ucd", column(OBS, "em_min", ucd="em.wl")),
    _fault("obscore.utype", column(OBS, "em_min", utype="obscore:Char.Nothing")),
    _fault("obscore.null", obs(obs_collection=None)),
    _fault("obscore.product-type", obs(dataproduct_type="Image")),
    _fault("obscore.calib-level", obs(calib_level=5)),
    _fault("obscore.option", obs(data_rights="open")),
    _fault("obscore.interval-order", obs(em_min=9e-7)),
    _fault("obscore.position", obs(s_dec=120.0)),
    _fault("obscore.half", obs(s_dec=None)),
    _fault("obscore.time", obs(t_min=2459000.5, t_max=2459001.5)),
    _fault("obscore.negative", obs(s_fov=-1.0)),
    _fault("obscore.wavelength", obs(em_max=5.5e9)),
    _fault("obscore.media-type", obs(access_format="fits")),
    _fault("obscore.url", obs(access_url="o2.fits")),
    _fault("obscore.did", obs(obs_publisher_did="o2")),
    _fault("obscore.ucd-value", obs(o_ucd="brightness")),
    _fault("obscore.unit-value", obs(o_unit="janskys of light")),
    _fault("obscore.polarization", obs(pol_states="/Q/I/")),
    _fault("obscore.polarization-number", obs(pol_xel=4)),
    _fault("obscore.timestamp", obs(obs_release_date="01/02/2024")),
    _fault("obscore.exposure", obs(t_exptime=600000.0)),
    _fault("obscore.absent", _without(OBS, R)),
    # --- the radio extension
    _fault("radio.type", column(R, "f_resolution", datatype="char", arraysize="*")),
    _fault("radio.negative", lambda w: w.radio.rows[0].update(instr_tel_diameter=-3.0)),
    _fault("radio.null", lambda w: w.radio.rows[0].update(obs_publisher_did=None)),
    _fault("radio.utype", lambda w: setattr(w.radio, "utype", "")),
    _fault("radio.missing-column", lambda w: w.radio.drop("scan_mode")),
    _fault("radio.unit", column(R, "f_resolution", unit="Hz")),
    _fault("radio.ucd", column(R, "f_resolution", ucd="em.freq")),
    _fault("radio.natural-join", _add(R, Column("s_ra", "double", unit="deg", ucd="pos.eq.ra"))),
    _fault("radio.orphan", lambda w: w.radio.rows[0].update(obs_publisher_did="ivo://example.org/survey?none")),
    _fault("radio.interval-order", lambda w: w.radio.rows[0].update(s_fov_max=0.1)),
    _fault("radio.fill", lambda w: w.radio.rows[0].update(uv_distribution_fill=1.5)),
]  # fmt: skip
