<?xml version="1.0" encoding="utf-8"?>
<resource schema="vespa_hfc1t3" resdir=".">
  <meta name="title">Type III bursts of the Heliophysics Feature Catalogue</meta>
  <meta name="description" format="plain">One row for each burst that a program found in a dynamic spectrum. The rows are invented.</meta>
  <meta name="creationDate">2021-03-01T00:00:00</meta>
  <meta name="subject">solar-radio-bursts</meta>
  <meta name="creator.name">Observatoire de Paris</meta>
  <meta name="contact.name">Observatoire de Paris</meta>
  <meta name="contact.email">vo@example.org</meta>
  <meta name="facility">Wind</meta>
  <meta name="instrument">WAVES</meta>
  <meta name="coverage.waveband">Radio</meta>
  <meta name="utype">ivo://vopdc.obspm/std/epncore#schema-2.0</meta>

  <table id="epn_core" onDisk="True" adql="True">
    <mixin spatial_frame_type="none"
      optional_columns="access_url access_format access_estsize thumbnail_url time_scale">//epntap2#table-2_0</mixin>
    <stc>Polygon UNKNOWNFrame [s_region]</stc>
    <column name="drift_start" type="double precision" ucd="arith.rate;em.freq" unit="MHz/s"
      description="Drift at the beginning"/>
    <column name="multiple" type="smallint" ucd="meta.code"
      description="1: several bursts at once"/>
    <publish sets="ivo_managed,local"/>
  </table>

  <data id="import">
    <sources pattern="driver.txt"/>
    <odbcGrammar>
      <makeQuery>
        <code>
          try:
            with base.getTableConn() as conn:
              newest = next(conn.query("SELECT MAX(time_min) FROM \schema.epn_core"))[0]
            limit = " WHERE o.JDINT + o.JDFRAC >= %s" % newest
          except base.DBError:
            limit = ""
          return ("SELECT b.ID_TYPE_III, b.BR_Y0_MHZ, b.BR_Y1_MHZ, b.DRIFT_START, b.MULTIPLE, b.SNAPSHOT_FN, b.TIME_START, b.TIME_END, "
            "o.QCLK_URL, y.OBSERVAT, y.INSTRUME FROM TYPE_III b JOIN OBSERVATIONS o ON b.OBSERVATIONS_ID = o.ID_OBSERVATIONS "
            "JOIN OBSERVATORY y ON o.OBSERVATORY_ID = y.ID_OBSERVATORY") + limit
        </code>
      </makeQuery>
    </odbcGrammar>
    <make table="epn_core">
      <rowmaker idmaps="*">
        <var key="access_url">"https://hfc.example.org/t3/" + @SNAPSHOT_FN</var>
        <var key="access_format">"image/png"</var>
        <var key="access_estsize">40</var>
        <var key="thumbnail_url">@QCLK_URL</var>
        <var key="time_scale">"UTC"</var>
        <var key="drift_start">@DRIFT_START</var>
        <var key="multiple">@MULTIPLE</var>
        <apply procDef="//epntap2#populate-2_0" name="fillepn">
          <bind key="granule_uid">"t3_" + str(@ID_TYPE_III)</bind>
          <bind key="granule_gid">"type III burst"</bind>
          <bind key="obs_id">"t3_" + str(@ID_TYPE_III)</bind>
          <bind key="dataproduct_type">"ev"</bind>
          <bind key="processing_level">5</bind>
          <bind key="measurement_type">"phot.flux.density;em.radio"</bind>
          <bind key="instrument_host_name">@OBSERVAT</bind>
          <bind key="instrument_name">@INSTRUME</bind>
          <bind key="time_min">dateTimeToJdn(parseISODT(@TIME_START))</bind>
          <bind key="time_max">dateTimeToJdn(parseISODT(@TIME_END))</bind>
          <bind key="spectral_range_min">@BR_Y0_MHZ*1e6</bind>
          <bind key="spectral_range_max">@BR_Y1_MHZ*1e6</bind>
          <bind key="target_class">"star"</bind>
          <bind key="target_name">"Sun"</bind>
          <bind key="service_title">"vespa_hfc1t3"</bind>
          <bind key="creation_date">"2021-03-01"</bind>
          <bind key="modification_date">"2021-03-01"</bind>
          <bind key="release_date">"2021-03-01"</bind>
        </apply>
      </rowmaker>
    </make>
  </data>
</resource>
