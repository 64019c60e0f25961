"""Files of contours and regions, which `hven region` converts."""
