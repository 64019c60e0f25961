<resource schema="plates" resdir=".">
  <meta name="title">Plates</meta>
  <table id="plates" onDisk="True" adql="True" mixin="//siap#pgs">
    <column name="exposure" type="real" unit="s" ucd="time.duration;obs.exposure" description="Exposure time"/>
    <column name="night" type="timestamp" ucd="time.epoch" description="Night"/>
  </table>
  <data id="import">
    <sources pattern="*.fits" recurse="True"/>
    <fitsProdGrammar qnd="True">
      <rowfilter procDef="//products#define">
        <bind name="table">"\schema.plates"</bind>
        <bind name="owner">"observers"</bind>
        <bind name="embargo">"2099-01-01"</bind>
        <bind name="mime">"image/fits"</bind>
      </rowfilter>
    </fitsProdGrammar>
    <make table="plates">
      <rowmaker idmaps="*">
        <map key="exposure">@EXPTIME</map>
        <map key="night">parseISODT(@DATE_OBS)</map>
        <apply procDef="//siap#computePGS"/>
        <apply procDef="//siap#setMeta">
          <bind name="title">"Plate "+@PLATE</bind>
          <bind name="bandpassId">@FILTER</bind>
          <bind name="dateObs">parseISODT(@DATE_OBS)</bind>
        </apply>
        <apply procDef="//siap#getBandFromFilter"/>
      </rowmaker>
    </make>
  </data>
  <service id="images" allowed="siap.xml,form">
    <publish render="siap.xml" sets="ivo_managed"/>
    <dbCore queriedTable="plates"/>
  </service>
</resource>
