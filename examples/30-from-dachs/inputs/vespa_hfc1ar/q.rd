<?xml version="1.0" encoding="utf-8"?>
<resource schema="vespa_hfc1ar" resdir=".">
  <meta name="title">Active regions of the Heliophysics Feature Catalogue</meta>
  <meta name="description" format="plain">One row for each active region that a program found in a magnetogram. The rows are invented.</meta>
  <meta name="creationDate">2021-03-01T00:00:00</meta>
  <meta name="subject">solar-active-regions</meta>
  <meta name="creator.name">Observatoire de Paris</meta>
  <meta name="contact.name">Observatoire de Paris</meta>
  <meta name="contact.email">vo@example.org</meta>
  <meta name="facility">SOHO</meta>
  <meta name="instrument">MDI</meta>
  <meta name="coverage.waveband">Optical</meta>
  <meta name="utype">ivo://vopdc.obspm/std/epncore#schema-2.0</meta>

  <table id="epn_core" onDisk="True" adql="True">
    <mixin spatial_frame_type="body"
      optional_columns="access_url access_format access_estsize thumbnail_url feature_name time_scale">//epntap2#table-2_0</mixin>
    <stc>Polygon UNKNOWNFrame [s_region]</stc>
    <column name="area_mm2" type="double precision" ucd="phys.area" unit="Mm**2"
      description="Area on the Sun"/>
    <column name="noaa" type="integer" ucd="meta.id"
      description="Number by NOAA"/>
    <publish sets="ivo_managed,local"/>
  </table>

  <data id="import">
    <sources pattern="driver.txt"/>
    <odbcGrammar>
      <query>SELECT r.ID_AR, r.FEAT_AREA_MM2, r.BR_HG_LONG0_DEG, r.BR_HG_LONG2_DEG, r.BR_HG_LAT0_DEG, r.BR_HG_LAT1_DEG, r.NOAA_NUMBER,
        r.SNAPSHOT_FN, o.JDINT, o.JDFRAC, o.QCLK_URL, y.OBSERVAT, y.INSTRUME
        FROM ACTIVEREGIONS r JOIN OBSERVATIONS o ON r.OBSERVATIONS_ID = o.ID_OBSERVATIONS
        JOIN OBSERVATORY y ON o.OBSERVATORY_ID = y.ID_OBSERVATORY</query>
    </odbcGrammar>
    <make table="epn_core">
      <rowmaker idmaps="*">
        <var key="access_url">"https://hfc.example.org/ar/" + @SNAPSHOT_FN</var>
        <var key="access_format">"image/png"</var>
        <var key="access_estsize">40</var>
        <var key="thumbnail_url">@QCLK_URL</var>
        <var key="feature_name">"AR " + str(@NOAA_NUMBER)</var>
        <var key="time_scale">"UTC"</var>
        <var key="area_mm2">@FEAT_AREA_MM2</var>
        <var key="noaa">@NOAA_NUMBER</var>
        <apply procDef="//epntap2#populate-2_0" name="fillepn">
          <bind key="granule_uid">"ar_" + str(@ID_AR)</bind>
          <bind key="granule_gid">"active region"</bind>
          <bind key="obs_id">"ar_" + str(@ID_AR)</bind>
          <bind key="dataproduct_type">"ev"</bind>
          <bind key="processing_level">5</bind>
          <bind key="measurement_type">"phys.magField"</bind>
          <bind key="instrument_host_name">@OBSERVAT</bind>
          <bind key="instrument_name">@INSTRUME</bind>
          <bind key="time_min">@JDINT + @JDFRAC</bind>
          <bind key="time_max">@JDINT + @JDFRAC + 1/1440.0</bind>
          <bind key="c1min">@BR_HG_LONG0_DEG</bind>
          <bind key="c1max">@BR_HG_LONG2_DEG</bind>
          <bind key="c2min">@BR_HG_LAT0_DEG</bind>
          <bind key="c2max">@BR_HG_LAT1_DEG</bind>
          <bind key="target_class">"star"</bind>
          <bind key="target_name">"Sun"</bind>
          <bind key="service_title">"vespa_hfc1ar"</bind>
          <bind key="creation_date">"2021-03-01"</bind>
          <bind key="modification_date">"2021-03-01"</bind>
          <bind key="release_date">"2021-03-01"</bind>
        </apply>
      </rowmaker>
    </make>
  </data>
</resource>
