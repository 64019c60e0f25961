"""Product files of planetary missions: PDS3, PDS4, ISIS and VICAR, opened by their labels."""
