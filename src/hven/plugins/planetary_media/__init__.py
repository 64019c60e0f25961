"""Product files of planetary missions: PDS3, PDS4 and ISIS, opened by their labels."""
