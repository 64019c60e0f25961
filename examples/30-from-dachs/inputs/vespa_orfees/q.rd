<?xml version="1.0" encoding="utf-8"?>
<resource schema="vespa_orfees" resdir=".">
  <meta name="title">Dynamic spectra of the Sun by ORFEES</meta>
  <meta name="description" format="plain">One row for each file of a day: spectra from 144 to 1000 MHz in five bands. The rows are invented.</meta>
  <meta name="creationDate">2021-03-01T00:00:00</meta>
  <meta name="subject">solar-radio-emission</meta>
  <meta name="creator.name">Station de radioastronomie de Nancay</meta>
  <meta name="contact.name">Station de radioastronomie de Nancay</meta>
  <meta name="contact.email">vo@example.org</meta>
  <meta name="facility">Nancay</meta>
  <meta name="instrument">ORFEES</meta>
  <meta name="coverage.waveband">Radio</meta>
  <meta name="utype">ivo://vopdc.obspm/std/epncore#schema-2.0</meta>

  <table id="epn_core" onDisk="True" adql="True">
    <mixin spatial_frame_type="none"
      optional_columns="access_url access_format access_estsize thumbnail_url file_name time_scale">//epntap2#table-2_0</mixin>
    <stc>Polygon UNKNOWNFrame [s_region]</stc>
    <column name="bands" type="integer" ucd="meta.number"
      description="Number of receivers that were on"/>
    <publish sets="ivo_managed,local"/>
  </table>

  <data id="import">
    <sources pattern="query.json"/>
    <customGrammar module="res/get_metadata"/>
    <make table="epn_core">
      <rowmaker idmaps="*">
        <var key="access_url">"https://orfees.example.org/data/" + @file</var>
        <var key="access_format">"application/fits"</var>
        <var key="access_estsize">@size</var>
        <var key="thumbnail_url">"https://orfees.example.org/QL/Orfees/orfees%s.png" % @day</var>
        <var key="file_name">@file</var>
        <var key="time_scale">"UTC"</var>
        <apply procDef="//epntap2#populate-2_0" name="fillepn">
          <bind key="granule_uid">@file</bind>
          <bind key="granule_gid">"spectrum"</bind>
          <bind key="obs_id">"orfees_" + @day</bind>
          <bind key="dataproduct_type">"ds"</bind>
          <bind key="processing_level">2</bind>
          <bind key="measurement_type">"phot.flux.density;em.radio"</bind>
          <bind key="instrument_host_name">"Nancay"</bind>
          <bind key="instrument_name">"ORFEES"</bind>
          <bind key="time_min">dateTimeToJdn(parseISODT(@begin))</bind>
          <bind key="time_max">dateTimeToJdn(parseISODT(@end))</bind>
          <bind key="time_sampling_step_min">0.1</bind>
          <bind key="time_sampling_step_max">0.1</bind>
          <bind key="spectral_range_min">144e6</bind>
          <bind key="spectral_range_max">float(@highest)*1e6</bind>
          <bind key="target_class">"star"</bind>
          <bind key="target_name">"Sun"</bind>
          <bind key="service_title">"vespa_orfees"</bind>
          <bind key="creation_date">"2021-03-01"</bind>
          <bind key="modification_date">"2021-03-01"</bind>
          <bind key="release_date">"2021-03-01"</bind>
        </apply>
      </rowmaker>
    </make>
  </data>
</resource>
