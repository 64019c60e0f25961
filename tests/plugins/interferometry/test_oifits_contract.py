"""The source of OIFITS keeps the contract of sources."""

from __future__ import annotations

import numpy as np
from astropy.io import fits

from hven.testing.source import SourceContract


class TestOifits(SourceContract):
    kind = "oifits"
    rows = [
        {
            "target_name": name, "target_id": number, "s_ra": 10.0 * number, "s_dec": -5.0, "night": night, "t_min": first, "t_max": last, "t_exptime": 30.0, "em_min": 2e-6,
            "em_max": 2.5e-6, "em_res_power": (2e-6 / 5e-8 + 2.5e-6 / 5e-8) / 2.0, "nb_channels": 2, "facility_name": "VLTI", "instrument_name": "GRAVITY", "instrument_mode": "GRAVITY_SC",
            "interferometer_stations": "A0 G1", "nb_vis": 0, "nb_vis2": 2, "nb_t3": 0, "nb_flux": 0, "b_min": 50.0, "b_max": 50.0,
            "s_resolution": 2e-6 / 50.0 * (180.0 * 3600.0 / np.pi), "correlation": None, "polarised": False, "oifits": 2, "date_obs": "2023-01-02", "obs_creator_name": None, "datapi": "A. Person",
            "progid": None, "procsoft": None, "doubts": None, "NIGHTLOG": "clear",
        }
        for name, number, night, first, last in (("HD 1", 1, "2023-01-01", 59945.9, 59946.1), ("HD 1", 1, "2023-01-02", 59947.1, 59947.2), ("HD 2", 2, "2023-01-01", 59946.1, 59946.2))
    ]  # fmt: skip

    def write_source_files(self, directory):
        times = {(1, 0): [59945.9, 59946.1], (1, 1): [59947.1, 59947.2], (2, 0): [59946.1, 59946.2]}
        lines = [(number, time) for (number, _), both in times.items() for time in both]
        count = len(lines)
        tables = {
            "OI_VIS2": [
                fits.Column("TARGET_ID", "I", array=[number for number, _ in lines]), fits.Column("EXTRA", "3A", array=["x"] * count), fits.Column("MJD", "D", array=[time for _, time in lines]),
                fits.Column("INT_TIME", "D", array=[30.0, 60.0] * 3), fits.Column("UCOORD", "D", array=[30.0] * count), fits.Column("VCOORD", "D", array=[-40.0] * count),
                fits.Column("STA_INDEX", "2I", array=[[1, 7]] * count), fits.Column("VIS2DATA", "2D", array=[[0.5, 0.6]] * count),
            ],
            "OI_TARGET": [fits.Column("TARGET_ID", "I", array=[1, 2]), fits.Column("TARGET", "16A", array=["HD 1", "HD 2"]), fits.Column("RAEP0", "D", array=[10.0, 20.0]), fits.Column("DECEP0", "D", array=[-5.0, -5.0])],
            "OI_WAVELENGTH": [fits.Column("EFF_WAVE", "D", array=[2e-6, 2.5e-6]), fits.Column("EFF_BAND", "D", array=[5e-8, 5e-8])],
            "OI_ARRAY": [fits.Column("STA_INDEX", "I", array=[7, 1]), fits.Column("STA_NAME", "8A", array=["G1", "A0"])],
        }  # fmt: skip
        hdus = [fits.BinTableHDU.from_columns(columns, name=name) for name, columns in tables.items()]
        for hdu in hdus:
            hdu.header.update({"INSNAME": "GRAVITY_SC", "ARRNAME": "VLTI", "OI_REVN": 2})
        first = fits.PrimaryHDU(header=fits.Header({"CONTENT": "OIFITS2", "DATE-OBS": "2023-01-02", "PI-COI": "A. Person", "OBSERVER": "UNKNOWN", "NIGHTLOG": "clear"}))  # fmt: skip
        fits.HDUList([first, *hdus]).writeto(directory / "a.oifits", overwrite=True)
        return {"files": "*.oifits", "cards": ["NIGHTLOG"]}

    def test_input_versions_name_what_was_read(self, tmp_path):
        """Only headers are read, so there is no checksum, and the pin says so."""
        source = self.open_source(tmp_path)
        self.read_source_table(source)
        files = source.list_files().num_rows
        assert [pin.detail for pin in source.list_input_versions()] == ["header only"] * files
        assert (source.estimate_progress_total(), source.count_progress_units()) == (files, files)
