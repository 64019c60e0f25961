"""What `hven lint` validates: files of TFCat."""
