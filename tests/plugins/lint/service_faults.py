"""Faults of services, each with exactly the codes that lint must report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tap_server import Column, TapServer


@dataclass(frozen=True)
class ServiceFault:
    """A change of the service, and the codes that lint must report."""

    codes: frozenset[str]
    plant: Callable[[TapServer], None]
    why: str = ""

    @property
    def name(self) -> str:
        return self.why or "+".join(sorted(self.codes))


def _define_fault(codes: str, plant: Callable[[TapServer], Any], why: str = "") -> ServiceFault:
    return ServiceFault(frozenset(codes.split()), plant, why)


def _change_row(table: str, **values: Any) -> Callable[[TapServer], None]:
    """Change the second row of a table."""
    return lambda world: world.table(table).rows[1].update(values)


def change_epn_row(**values: Any) -> Callable[[TapServer], None]:
    return _change_row("demo.epn_core", **values)


def change_obscore_row(**values: Any) -> Callable[[TapServer], None]:
    return _change_row("ivoa.obscore", **values)


def change_column(table: str, name: str, **values: Any) -> Callable[[TapServer], None]:
    """Change the declaration of a column everywhere."""
    return lambda world: world.table(table).column(name).__dict__.update(values)


def replace_text(document: str, old: str, new: str) -> Callable[[TapServer], None]:
    return lambda world: world.replacements.append((document, old, new))


def misbehave(*words: str) -> Callable[[TapServer], None]:
    return lambda world: world.misbehaviours.update(words)


def edit_schema(*edits: str) -> Callable[[TapServer], None]:
    return lambda world: world.schema_edits.extend(edits)


def _add_columns(table: str, *columns: Column) -> Callable[[TapServer], None]:
    return lambda world: world.table(table).columns.extend(columns)


def _drop_tables(*names: str) -> Callable[[TapServer], None]:
    return lambda world: setattr(world, "tables", [one for one in world.tables if one.name not in names])


def _combine(*plants: Callable[[TapServer], None]) -> Callable[[TapServer], None]:
    return lambda world: [plant(world) for plant in plants] and None


EPN_CORE, OBSCORE, OBSCORE_RADIO = "demo.epn_core", "ivoa.obscore", "ivoa.obscore_radio"

FAULTS = [
    # --- documents
    _define_fault("vosi.availability-missing", lambda w: (misbehave("no-availability")(w), replace_text("capabilities", "VOSI#availability", "VOSI#other")(w))),
    _define_fault("vosi.declared-absent", misbehave("no-tables"), "/tables is declared but gone"),
    _define_fault("vosi.availability-shape", replace_text("availability", "<a:available>true</a:available>", "")),
    _define_fault("vosi.availability-time", replace_text("availability", "2026-01-01T00:00:00Z", "yesterday")),
    _define_fault("vosi.not-available", replace_text("availability", "true", "false")),
    _define_fault("vosi.tables-shape", replace_text("tables", "<schema><name>demo</name>", "<schema><title>x</title><name>demo</name>")),
    _define_fault("vosi.capabilities-shape", replace_text("capabilities", "</dataModel>", "</dataModel><colour>red</colour>")),
    _define_fault("vosi.undeclared", replace_text("capabilities", "VOSI#availability", "VOSI#other")),
    # --- capabilities
    _define_fault("cap.tap-count", lambda w: w.replacements.append(("capabilities", "</vosi:capabilities>", '<capability standardID="ivo://ivoa.net/std/TAP"/></vosi:capabilities>'))),
    _define_fault("cap.version", replace_text("capabilities", ' version="1.1"', ' version="1.0"')),
    _define_fault("cap.no-standard-interface", replace_text("capabilities", ' role="std" version="1.1"', ' version="1.1"')),
    _define_fault("cap.address cap.vosi-address", replace_text("capabilities", '<accessURL use="base">http://world.example/tap', '<accessURL use="base">http://world.example/elsewhere')),
    _define_fault("cap.adql-version", replace_text("capabilities", "#v2.0", "#v2.1")),
    _define_fault("cap.function-form", replace_text("capabilities", "(hashlist TEXT, item TEXT) -> INTEGER", "(hashlist, item)")),
    _define_fault("cap.feature-type epn.function", lambda w: (replace_text("capabilities", "#features-udf", "#features-magic")(w), replace_text("capabilities", "ivo_hashlist_has", "other_has")(w))),
    _define_fault("cap.geometry-name", replace_text("capabilities", "</languageFeatures>", '</languageFeatures><languageFeatures type="ivo://ivoa.net/std/TAPRegExt#features-adqlgeo"><feature><form>TRIANGLE</form></feature></languageFeatures>')),
    _define_fault("cap.upload-missing", replace_text("capabilities", "<outputLimit>", '<uploadMethod ivo-id="ivo://ivoa.net/std/TAPRegExt#upload-inline"/><outputLimit>')),
    _define_fault("cap.limit", replace_text("capabilities", '<default unit="row">20000', '<default unit="row">200000')),
    _define_fault("cap.media-type output.failed", replace_text("capabilities", "<mime>text/csv</mime>", "<mime>comma separated</mime>")),
    _define_fault("cap.security-method", replace_text("capabilities", '<accessURL use="base">http://world.example/tap</accessURL>', '<accessURL use="base">http://world.example/tap</accessURL><securityMethod standardID="ivo://ivoa.net/sso#handshake"/>')),
    _define_fault("cap.address-form", replace_text("capabilities", "http://world.example/tap/availability", "availability")),
    _define_fault("cap.data-model vosi.capabilities-shape", replace_text("capabilities", "<outputLimit>", '<dataModel ivo-id="RegTAP">RegTAP</dataModel><outputLimit>')),
    _define_fault("cap.no-adql", replace_text("capabilities", "<name>ADQL</name>", "<name>SQL</name>")),
    _define_fault("cap.no-votable", replace_text("capabilities", '<outputFormat ivo-id="ivo://ivoa.net/std/TAPRegExt#output-votable-td"><mime>application/x-votable+xml</mime><alias>votable</alias></outputFormat>', "")),
    _define_fault("cap.output-key", replace_text("capabilities", "#output-votable-td", "#output-votable-xyz")),
    _define_fault("cap.upload-method cap.upload-missing", replace_text("capabilities", "<outputLimit>", '<uploadMethod ivo-id="ivo://ivoa.net/std/TAPRegExt#upload-pigeon"/><outputLimit>')),
    _define_fault("cap.server-header", misbehave("anonymous")),
    # --- TAP_SCHEMA
    _define_fault("schema.flag", edit_schema("UPDATE TAP_SCHEMA.columns SET principal = 7 WHERE column_name = 'c1min'")),
    _define_fault("schema.null", edit_schema("UPDATE TAP_SCHEMA.tables SET table_type = NULL WHERE table_name = 'demo.epn_core'")),
    _define_fault("schema.orphan", edit_schema("INSERT INTO TAP_SCHEMA.columns SELECT 'demo.ghosts', column_name, datatype, arraysize, xtype, \"size\", description, utype, unit, ucd, indexed, principal, std, column_index FROM TAP_SCHEMA.columns WHERE column_name = 'c1min'")),
    _define_fault("schema.duplicate", edit_schema("INSERT INTO TAP_SCHEMA.columns SELECT * FROM TAP_SCHEMA.columns WHERE column_name = 'c1min'")),
    _define_fault("schema.arraysize", edit_schema("UPDATE TAP_SCHEMA.columns SET arraysize = '*12' WHERE column_name = 'target_class'")),
    _define_fault("schema.size", edit_schema("UPDATE TAP_SCHEMA.columns SET arraysize = '12*', \"size\" = 13 WHERE column_name = 'target_name'")),
    _define_fault("schema.datatype tables.type tables.field-type epn.type", edit_schema("UPDATE TAP_SCHEMA.columns SET datatype = 'number' WHERE column_name = 'incidence_min'")),
    _define_fault("schema.std", edit_schema("UPDATE TAP_SCHEMA.columns SET std = 0 WHERE table_name = 'TAP_SCHEMA.keys' AND column_name = 'utype'")),
    _define_fault("schema.itself tables.only-in-tables schema.orphan", edit_schema("DELETE FROM TAP_SCHEMA.tables WHERE table_name = 'TAP_SCHEMA.keys'")),
    _define_fault("schema.missing-column", lambda w: w.table("TAP_SCHEMA.keys").drop_column("description")),
    _define_fault("schema.column-type", change_column("TAP_SCHEMA.tables", "table_index", datatype="double")),
    _define_fault("schema.column-name tables.field-missing tables.field-undeclared tables.only-in-schema tables.only-in-tables", edit_schema("UPDATE TAP_SCHEMA.columns SET column_name = 'key-id' WHERE table_name = 'TAP_SCHEMA.keys' AND column_name = 'description'")),
    _define_fault("schema.table-type", edit_schema("UPDATE TAP_SCHEMA.tables SET table_type = 'heap' WHERE table_name = 'demo.epn_core'")),
    # --- consistency
    _define_fault("tables.unit", replace_text("tables", "<name>local_time_min</name><description>what it is</description><unit>h</unit>", "<name>local_time_min</name><description>what it is</description><unit>s</unit>")),
    _define_fault("tables.ucd", replace_text("tables", "<ucd>time.scale</ucd>", "<ucd>time</ucd>")),
    _define_fault("tables.type", replace_text("tables", '<name>processing_level</name><description>what it is</description><ucd>meta.calibLevel</ucd><dataType xsi:type="vs:VOTableType">int', '<name>processing_level</name><description>what it is</description><ucd>meta.calibLevel</ucd><dataType xsi:type="vs:VOTableType">double')),
    _define_fault("tables.only-in-schema", replace_text("tables", '<column><name>time_scale</name><description>what it is</description><ucd>time.scale</ucd><dataType xsi:type="vs:VOTableType" arraysize="*">char</dataType><flag>std</flag></column>', "")),
    _define_fault("tables.foreign-key schema.keys", edit_schema("DELETE FROM TAP_SCHEMA.key_columns WHERE key_id = '5'", "DELETE FROM TAP_SCHEMA.keys WHERE key_id = '5'")),
    _define_fault("tables.field-unit", replace_text("votable", ' unit="kbyte"', "")),
    _define_fault("tables.field-missing tables.only-in-schema", edit_schema("INSERT INTO TAP_SCHEMA.columns SELECT table_name, 'phantom', datatype, arraysize, xtype, \"size\", description, utype, unit, ucd, indexed, principal, std, column_index FROM TAP_SCHEMA.columns WHERE table_name = 'demo.epn_core' AND column_name = 'target_name'")),
    _define_fault("tables.field-undeclared tables.only-in-tables", edit_schema("DELETE FROM TAP_SCHEMA.columns WHERE table_name = 'demo.epn_core' AND column_name = 'time_scale'")),
    _define_fault("tables.field-ucd", replace_text("votable", ' ucd="meta.checksum;meta.file"', "")),
    _define_fault("tables.field-utype", replace_text("votable", ' utype="obscore:DataID.observationID"', "")),
    _define_fault("tables.field-xtype", replace_text("votable", ' xtype="moc"', "")),
    _define_fault("tables.field-type", replace_text("votable", 'name="calib_level" datatype="int"', 'name="calib_level" datatype="long"')),
    _define_fault("tables.cell epn.access", replace_text("votable", "<TD>2000</TD><TD>0123456789abcdef", "<TD>many</TD><TD>0123456789abcdef")),
    _define_fault("tables.indexed", replace_text("tables", '<name>granule_gid</name><description>what it is</description><ucd>meta.id</ucd><dataType xsi:type="vs:VOTableType" arraysize="*">char</dataType>', '<name>granule_gid</name><description>what it is</description><ucd>meta.id</ucd><dataType xsi:type="vs:VOTableType" arraysize="*">char</dataType><flag>indexed</flag>')),
    # --- metadata
    _define_fault("meta.unit", _add_columns(EPN_CORE, Column("demo_size", "double", unit="furlongs per fortnight", ucd="phys.size"))),
    _define_fault("meta.unit-form", _add_columns(EPN_CORE, Column("demo_size", "double", unit="degree", ucd="phys.angSize"))),
    _define_fault("meta.ucd", _add_columns(EPN_CORE, Column("demo_size", "double", unit="deg", ucd="phys.bigness"))),
    _define_fault("meta.ucd-deprecated", _add_columns(EPN_CORE, Column("demo_ra", "double", unit="deg", ucd="POS_EQ_RA"))),
    _define_fault("meta.column-description", change_column(EPN_CORE, "target_name", description="")),
    _define_fault("meta.table-description", lambda w: setattr(w.epn, "description", "")),
    _define_fault("meta.angle-unit", _add_columns(EPN_CORE, Column("demo_ra", "double", ucd="pos.eq.ra"))),
    _define_fault("meta.xtype", _add_columns(EPN_CORE, Column("demo_time", ucd="time.epoch", xtype="datetime"))),
    _define_fault("meta.xtype-type", _add_columns(EPN_CORE, Column("demo_time", "double", unit="d", ucd="time.epoch", xtype="timestamp"))),
    # --- queries
    _define_fault("query.overflow", misbehave("no-overflow"), "cut without a word"),
    _define_fault("query.top", misbehave("no-top"), "TOP is not kept"),
    _define_fault("query.status", replace_text("votable", '<INFO name="QUERY_STATUS" value="OK"/>', "")),
    _define_fault("query.content-type output.media-type", misbehave("html-media")),
    _define_fault("query.version", replace_text("votable", 'version="1.4"', 'version="1.0"')),
    _define_fault("query.resource", replace_text("votable", '<RESOURCE type="results">', '<RESOURCE type="meta">')),
    _define_fault("query.extra-parameter", misbehave("strict")),
    _define_fault("query.language", misbehave("any-language")),
    _define_fault("query.case", misbehave("case")),
    _define_fault("query.language-version", replace_text("capabilities", '<version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version>', '<version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version><version ivo-id="ivo://ivoa.net/std/ADQL#v2.1">2.1</version>')),
    _define_fault("query.maxrec query.maxrec-zero", misbehave("no-maxrec")),
    _define_fault("query.get", misbehave("get")),
    _define_fault("query.columns query.count", misbehave("renames")),
    _define_fault("query.boolean", misbehave("no-not")),
    # --- errors
    _define_fault("error.inside", misbehave("talkative")),
    _define_fault("error.table", replace_text("error", "</INFO>", "</INFO><TABLE/>")),
    _define_fault("error.missing-query", misbehave("no-query")),
    _define_fault("error.success uws.error", misbehave("forgiving")),
    _define_fault("error.document error.http-status uws.error", misbehave("html-errors")),
    _define_fault("error.message", misbehave("mute")),
    # --- outputs
    _define_fault("output.media-type", misbehave("no-csv")),
    _define_fault("output.unknown", misbehave("any-format")),
    _define_fault("output.unreadable", misbehave("ragged")),
    _define_fault("output.serialization", replace_text("capabilities", "#output-votable-td", "#output-votable-binary2")),
    # --- jobs
    _define_fault("uws.id", replace_text("job", "<uws:jobId>", "<uws:jobId>job-")),
    _define_fault("uws.result uws.error", misbehave("no-result"), "neither results nor errors of jobs"),
    _define_fault("uws.run", misbehave("broken-jobs")),
    _define_fault("uws.atom-type", misbehave("xml-atoms")),
    _define_fault("uws.list", misbehave("list")),
    _define_fault("uws.first-phase uws.parameters", _combine(misbehave("eager"), replace_text("job", 'id="LANG"', 'id="IDIOM"'))),
    _define_fault("uws.create", misbehave("no-redirect")),
    _define_fault("uws.shape", replace_text("job", 'version="1.1"><uws:jobId>', 'version="1.1"><uws:runId/><uws:jobId>')),
    _define_fault("uws.time", replace_text("job", "<uws:creationTime>2026-01-01T00:00:00Z", "<uws:creationTime>2026-01-01 00:00:00")),
    _define_fault("uws.duration", replace_text("executionduration", "600", "ten minutes")),
    _define_fault("uws.atom", replace_text("destruction", "2027", "2028")),
    _define_fault("uws.delete", misbehave("no-action"), "destroyed by DELETE alone"),
    _define_fault("uws.change", misbehave("fixed")),
    _define_fault("uws.abort", misbehave("no-abort")),
    _define_fault("uws.delete", misbehave("immortal")),
    _define_fault("uws.unknown uws.delete", misbehave("any-job")),
    _define_fault("uws.error", misbehave("never-wrong")),
    # --- examples
    _define_fault("examples.shape", replace_text("examples", "</pre>", "")),
    _define_fault("examples.vocabulary", replace_text("examples", "http://www.ivoa.net/rdf/examples#", "http://example.org/words#")),
    _define_fault("examples.query", replace_text("examples", "target_name = ", "target_nom = ")),
    _define_fault("examples.property", replace_text("examples", 'property="name"', 'class="name"')),
    _define_fault("examples.identifier", replace_text("examples", 'resource="#mars"', 'resource="#venus"')),
    _define_fault("examples.table", replace_text("examples", ">demo.epn_core</span>", ">demo.nothing</span>")),
    _define_fault("examples.declared-absent", misbehave("no-examples")),
    _define_fault("examples.none", replace_text("examples", 'typeof="example"', 'class="example"')),
    _define_fault("examples.undeclared", replace_text("capabilities", "DALI#examples", "DALI#other")),
    _define_fault("examples.content-type", misbehave("plain-examples")),
    # --- EPN-TAP: the table
    _define_fault("epn.utype", lambda w: setattr(w.epn, "utype", "")),
    _define_fault("epn.old-utype", lambda w: setattr(w.epn, "utype", "ivo://vopdc.obspm/std/epncore#schema-2.0")),
    _define_fault("epn.name examples.query examples.table", lambda w: setattr(w.epn, "name", "demo.granules")),
    _define_fault("epn.missing-column", lambda w: w.epn.drop_column("processing_level")),
    _define_fault("epn.type", change_column(EPN_CORE, "incidence_min", datatype="char", arraysize="*")),
    _define_fault("epn.precision", change_column(EPN_CORE, "time_min", datatype="float")),
    _define_fault("epn.unit", change_column(EPN_CORE, "spectral_range_min", unit="m")),
    _define_fault("epn.ucd", change_column(EPN_CORE, "spectral_range_min", ucd="em.wl;stat.min")),
    _define_fault("epn.xtype meta.time-type", change_column(EPN_CORE, "creation_date", xtype="")),
    _define_fault("epn.region-xtype", change_column(EPN_CORE, "s_region", xtype="")),
    _define_fault("epn.pair", lambda w: w.epn.drop_column("local_time_max")),
    _define_fault("epn.frame-unit", change_column(EPN_CORE, "c3min", unit="m")),
    _define_fault("epn.frame-ucd", change_column(EPN_CORE, "c1min", ucd="pos.eq.ra;stat.min")),
    _define_fault("epn.column-name", _add_columns(EPN_CORE, Column("Demo_Size", "double"))),
    _define_fault("epn.reserved", _add_columns(EPN_CORE, Column("accref"))),
    _define_fault("epn.access-columns", lambda w: w.epn.drop_column("access_estsize")),
    _define_fault("epn.function", replace_text("capabilities", "ivo_hashlist_has", "demo_has")),
    # --- EPN-TAP: the rows
    _define_fault("epn.condition", misbehave("untyped processing_level")),
    _define_fault("obscore.condition", misbehave("untyped s_xel1")),
    _define_fault("radio.condition", misbehave("untyped instr_tel_number")),
    _define_fault("epn.null", change_epn_row(granule_gid=None)),
    _define_fault("epn.half-interval", change_epn_row(time_exp_max=None)),
    _define_fault("epn.interval-order", change_epn_row(time_exp_max=0.01)),
    _define_fault("epn.product-type", change_epn_row(dataproduct_type="sc#xx")),
    _define_fault("epn.target-class", change_epn_row(target_class="planet#moon")),
    _define_fault("epn.frame footprint.frame", change_epn_row(spatial_frame_type="bodily")),
    _define_fault("epn.processing-level", change_epn_row(processing_level=9)),
    _define_fault("epn.level-four", change_epn_row(processing_level=4)),
    _define_fault("epn.service-title", change_epn_row(service_title="other")),
    _define_fault("epn.timestamp", change_epn_row(creation_date="2024-13-01")),
    _define_fault("epn.local-time", change_epn_row(local_time_max=25.0)),
    _define_fault("epn.messenger", change_epn_row(messenger="infrared")),
    _define_fault("epn.time-scale", change_epn_row(time_scale="utc")),
    _define_fault("epn.geometry-type", change_epn_row(geometry_type="sideways")),
    _define_fault("epn.particle-type", change_epn_row(particle_spectral_type="charm")),
    _define_fault("epn.inchikey", change_epn_row(species_inchikey="water")),
    _define_fault("epn.julian-date", change_epn_row(time_min=53000.5, time_max=53000.6)),
    _define_fault("epn.duplicate", change_epn_row(granule_uid="cube_1")),
    _define_fault("epn.uid-form", change_epn_row(granule_uid="cube#2")),
    _define_fault("epn.text", change_epn_row(instrument_name="OMEGA ")),
    _define_fault("epn.quotes", change_epn_row(target_name='"Mars"')),
    _define_fault("epn.list", change_epn_row(instrument_name="OMEGA # HRSC")),
    _define_fault("epn.lower-case epn.media-type", change_epn_row(access_format="Application/FITS")),
    _define_fault("epn.longitude", change_epn_row(c1max=361.0, s_region=None)),
    _define_fault("epn.latitude", change_epn_row(c2max=91.0)),
    _define_fault("epn.no-frame footprint.frame", change_epn_row(spatial_frame_type="none")),
    _define_fault("epn.angle", change_epn_row(incidence_max=190.0)),
    _define_fault("epn.negative", change_epn_row(time_exp_min=-1.0)),
    _define_fault("epn.access", change_epn_row(access_estsize=None)),
    _define_fault("epn.url", change_epn_row(access_url="archive/cube_2.fits")),
    _define_fault("epn.measurement", change_epn_row(measurement_type="phys.reflectivity")),
    _define_fault("epn.date-order", change_epn_row(modification_date="2023-01-01")),
    _define_fault("epn.md5", change_epn_row(access_md5="abc")),
    _define_fault("epn.file-name", change_epn_row(file_name="data/cube_2.fits")),
    _define_fault("epn.reference", change_epn_row(internal_reference="cube_1#cube_99")),
    _define_fault("epn.target-time", change_epn_row(target_time_min="2010-01-01T00:00:00", target_time_max="2010-01-01T00:00:00")),
    # --- footprints
    _define_fault("footprint.unreadable", change_epn_row(s_region="POLYGON 20 5 24 5"), "a polygon with two corners"),
    _define_fault("footprint.off-sphere", change_epn_row(s_region="POLYGON 20 5 24 5 24 95")),
    _define_fault("footprint.orientation", change_epn_row(s_region="POLYGON 20 5 20 13 24 13 24 5"), "the wrong way round on a body"),
    _define_fault("footprint.orientation", change_obscore_row(s_region="POLYGON ICRS 41.5 19.5 42.5 19.5 42.5 20.5 41.5 20.5"), "the wrong way round on the sky"),
    _define_fault("footprint.closed", change_epn_row(s_region="POLYGON 20 5 24 5 24 13 20 13 20 5")),
    _define_fault("footprint.bounds", change_epn_row(s_region="POLYGON 120 5 124 5 124 13 120 13")),
    _define_fault("footprint.centre", change_obscore_row(s_ra=140.0)),
    _define_fault("footprint.moc", change_epn_row(coverage="3/800")),
    _define_fault("footprint.disagree", change_epn_row(coverage="6/0 1 2")),
    # --- ObsCore
    _define_fault("obscore.undeclared", replace_text("capabilities", '<dataModel ivo-id="ivo://ivoa.net/std/ObsCore#core-1.1">ObsCore-1.1</dataModel>', "")),
    _define_fault("obscore.model", replace_text("capabilities", "ivo://ivoa.net/std/ObsCore#core-1.1", "ivo://ivoa.net/std/ObsCore/v1.0")),
    _define_fault("obscore.missing-column", lambda w: w.obscore.drop_column("t_xel")),
    _define_fault("obscore.type", change_column(OBSCORE, "em_min", datatype="char", arraysize="*")),
    _define_fault("obscore.unit", change_column(OBSCORE, "em_min", unit="um")),
    _define_fault("obscore.ucd", change_column(OBSCORE, "em_min", ucd="em.wl")),
    _define_fault("obscore.utype", change_column(OBSCORE, "em_min", utype="obscore:Char.Nothing")),
    _define_fault("obscore.null", change_obscore_row(obs_collection=None)),
    _define_fault("obscore.product-type", change_obscore_row(dataproduct_type="Image")),
    _define_fault("obscore.calib-level", change_obscore_row(calib_level=5)),
    _define_fault("obscore.option", change_obscore_row(data_rights="open")),
    _define_fault("obscore.interval-order", change_obscore_row(em_min=9e-7)),
    _define_fault("obscore.position", change_obscore_row(s_dec=120.0)),
    _define_fault("obscore.half", change_obscore_row(s_dec=None)),
    _define_fault("obscore.time", change_obscore_row(t_min=2459000.5, t_max=2459001.5)),
    _define_fault("obscore.negative", change_obscore_row(s_fov=-1.0)),
    _define_fault("obscore.wavelength", change_obscore_row(em_max=5.5e9)),
    _define_fault("obscore.media-type", change_obscore_row(access_format="fits")),
    _define_fault("obscore.url", change_obscore_row(access_url="o2.fits")),
    _define_fault("obscore.did", change_obscore_row(obs_publisher_did="o2")),
    _define_fault("obscore.ucd-value", change_obscore_row(o_ucd="brightness")),
    _define_fault("obscore.unit-value", change_obscore_row(o_unit="janskys of light")),
    _define_fault("obscore.polarization", change_obscore_row(pol_states="/Q/I/")),
    _define_fault("obscore.polarization-number", change_obscore_row(pol_xel=4)),
    _define_fault("obscore.timestamp", change_obscore_row(obs_release_date="01/02/2024")),
    _define_fault("obscore.exposure", change_obscore_row(t_exptime=600000.0)),
    _define_fault("obscore.absent", _drop_tables(OBSCORE, OBSCORE_RADIO)),
    # --- the radio extension
    _define_fault("radio.type", change_column(OBSCORE_RADIO, "f_resolution", datatype="char", arraysize="*")),
    _define_fault("radio.negative", lambda w: w.radio.rows[0].update(instr_tel_diameter=-3.0)),
    _define_fault("radio.null", lambda w: w.radio.rows[0].update(obs_publisher_did=None)),
    _define_fault("radio.utype", lambda w: setattr(w.radio, "utype", "")),
    _define_fault("radio.missing-column", lambda w: w.radio.drop_column("scan_mode")),
    _define_fault("radio.unit", change_column(OBSCORE_RADIO, "f_resolution", unit="Hz")),
    _define_fault("radio.ucd", change_column(OBSCORE_RADIO, "f_resolution", ucd="em.freq")),
    _define_fault("radio.natural-join", _add_columns(OBSCORE_RADIO, Column("s_ra", "double", unit="deg", ucd="pos.eq.ra"))),
    _define_fault("radio.orphan", lambda w: w.radio.rows[0].update(obs_publisher_did="ivo://example.org/survey?none")),
    _define_fault("radio.interval-order", lambda w: w.radio.rows[0].update(s_fov_max=0.1)),
    _define_fault("radio.fill", lambda w: w.radio.rows[0].update(uv_distribution_fill=1.5)),
    # --- what the others do not plant
    _define_fault("cap.no-output vosi.capabilities-shape", _combine(replace_text("capabilities", '<outputFormat ivo-id="ivo://ivoa.net/std/TAPRegExt#output-votable-td"><mime>application/x-votable+xml</mime><alias>votable</alias></outputFormat>', ""), replace_text("capabilities", "<outputFormat><mime>text/csv</mime><alias>csv</alias></outputFormat>", ""))),
    _define_fault("epn.radius footprint.frame", change_epn_row(spatial_frame_type="spherical", c1min=-1.0)),
    _define_fault("error.status query.language uws.error", replace_text("error", 'value="ERROR"', 'value="OK"')),
    _define_fault("meta.ucd-case", _add_columns(EPN_CORE, Column("demo_size", "double", unit="deg", ucd="PHYS.angSize"))),
    _define_fault("meta.unit-blank meta.unit-form tables.unit", _add_columns(EPN_CORE, Column("demo_size", "double", unit="  ", ucd="phys.angSize"))),
    _define_fault("meta.utype", _add_columns(EPN_CORE, Column("demo_size", "double", unit="deg", ucd="phys.angSize", utype="char spatial"))),
    _define_fault("query.failed", misbehave("no-top-3")),
    _define_fault("query.field", replace_text("votable", '<FIELD name="table_name" datatype="char" arraysize="*"', '<FIELD name="table_name" datatype="char" arraysize="many"')),
    _define_fault("tables.field-type", replace_text("votable", 'datatype="double"', 'datatype="real"'), "numbers in a datatype that VOTable does not have"),
    _define_fault("query.overflow-wrong query.status-value", replace_text("votable", "</RESOURCE></VOTABLE>", '<INFO name="QUERY_STATUS" value="OVERFLOW"/></RESOURCE></VOTABLE>')),
    _define_fault("query.status-value", replace_text("votable", 'value="OK"', 'value="FINE"')),
    _define_fault("schema.absent tables.unreadable tables.foreign-key", edit_schema("DROP TABLE TAP_SCHEMA.key_columns")),
    _define_fault("schema.no-columns tables.only-in-tables radio.missing-column", edit_schema("DELETE FROM TAP_SCHEMA.columns WHERE table_name = 'ivoa.obscore_radio'")),
    _define_fault("schema.table-name schema.no-columns schema.orphan tables.only-in-schema tables.only-in-tables epn.name epn.missing-column examples.table", edit_schema("UPDATE TAP_SCHEMA.tables SET table_name = 'demo.epn-core' WHERE table_name = 'demo.epn_core'")),
    _define_fault("tables.unreadable", edit_schema("DROP TABLE ivoa.obscore_radio")),
    _define_fault("tables.utype", replace_text("tables", "<utype>obscore:Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1</utype>", "<utype>other:x</utype>")),
    _define_fault("uws.document-type", misbehave("html-jobs")),
    _define_fault("uws.redirect", misbehave("no-phase-redirect")),
    _define_fault("uws.same", misbehave("short-jobs")),
    _define_fault("vosi.content-type", misbehave("plain-vosi")),
    _define_fault("vosi.tables-missing", _combine(misbehave("no-tables"), replace_text("capabilities", "VOSI#tables-1.1", "VOSI#other"))),
]  # fmt: skip

# numbers that a service declares and sends as texts
TEXT_FAULTS = [
    *(_define_fault("obscore.type", change_column(OBSCORE, name, datatype="char", arraysize="*"), f"{name} as text") for name in ("s_ra", "pol_xel", "t_exptime")),
    _define_fault("epn.type", change_column(EPN_CORE, "c1min", datatype="char", arraysize="*"), "c1min as text"),
    _define_fault("epn.type meta.time-type", change_column(EPN_CORE, "time_min", datatype="char", arraysize="*"), "time_min as text"),
]  # fmt: skip
