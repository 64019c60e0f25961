"""Files of web and FTP servers and of object stores."""
