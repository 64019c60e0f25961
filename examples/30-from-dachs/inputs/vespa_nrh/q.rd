<?xml version="1.0" encoding="utf-8"?>
<resource schema="vespa_nrh" resdir=".">
  <meta name="title">Images of the Sun by the Nancay Radioheliograph</meta>
  <meta name="description" format="plain">One row for each day of observation, with a quick-look at the highest frequency. The rows are invented.</meta>
  <meta name="creationDate">2021-03-01T00:00:00</meta>
  <meta name="subject">solar-radio-emission</meta>
  <meta name="creator.name">Station de radioastronomie de Nancay</meta>
  <meta name="contact.name">Station de radioastronomie de Nancay</meta>
  <meta name="contact.email">vo@example.org</meta>
  <meta name="facility">Nancay</meta>
  <meta name="instrument">NRH</meta>
  <meta name="coverage.waveband">Radio</meta>
  <meta name="utype">ivo://vopdc.obspm/std/epncore#schema-2.0</meta>

  <table id="epn_core" onDisk="True" adql="True">
    <mixin spatial_frame_type="celestial"
      optional_columns="access_url access_format access_estsize thumbnail_url file_name time_scale">//epntap2#table-2_0</mixin>
    <stc>Polygon UNKNOWNFrame [s_region]</stc>
    <column name="quicklook" type="text" ucd="meta.ref"
      description="Name of the quick-look"/>
    <publish sets="ivo_managed,local"/>
  </table>

  <data id="import">
    <sources pattern="query.json"/>
    <customGrammar module="res/get_metadata"/>
    <make table="epn_core">
      <rowmaker idmaps="*">
        <var key="access_url">"https://nrh.example.org/fits/" + @fits</var>
        <var key="access_format">"application/fits"</var>
        <var key="access_estsize">int(@bytes)//1024</var>
        <var key="thumbnail_url">"https://nrh.example.org/QL/" + @quicklook</var>
        <var key="file_name">@fits</var>
        <var key="time_scale">"UTC"</var>
        <apply procDef="//epntap2#populate-2_0" name="fillepn">
          <bind key="granule_uid">@id</bind>
          <bind key="granule_gid">"daily"</bind>
          <bind key="obs_id">@id</bind>
          <bind key="dataproduct_type">"im"</bind>
          <bind key="processing_level">3</bind>
          <bind key="measurement_type">"phot.radiance;em.radio"</bind>
          <bind key="instrument_host_name">"Nancay Radioheliograph"</bind>
          <bind key="instrument_name">"NRH"</bind>
          <bind key="time_min">dateTimeToJdn(parseISODT(@date_obs))</bind>
          <bind key="time_max">dateTimeToJdn(parseISODT(@date_end))</bind>
          <bind key="time_sampling_step_min">@cadence</bind>
          <bind key="time_sampling_step_max">@cadence</bind>
          <bind key="spectral_range_min">float(@freq_min)*1e6</bind>
          <bind key="spectral_range_max">float(@freq_max)*1e6</bind>
          <bind key="target_class">"star"</bind>
          <bind key="target_name">"Sun"</bind>
          <bind key="service_title">"vespa_nrh"</bind>
          <bind key="creation_date">"2021-03-01"</bind>
          <bind key="modification_date">"2021-03-01"</bind>
          <bind key="release_date">"2021-03-01"</bind>
        </apply>
      </rowmaker>
    </make>
  </data>
</resource>
