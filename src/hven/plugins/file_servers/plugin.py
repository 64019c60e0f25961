"""What this package adds: stores by the schemes of their addresses, and the cache of what they send."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

# what reads this machine's disk (file, dir, zip, git ..) or goes past our guards (http, ftp) is not among them
FSSPEC_SCHEMES = (
    "gs",
    "gcs",
    "abfs",
    "abfss",
    "az",
    "adl",
    "oss",
    "tos",
    "oci",
    "hdfs",
    "webhdfs",
    "sftp",
    "ssh",
    "smb",
    "hf",
    "memory",
)

PLUGIN = PluginPackage(
    name="file_servers",
    title="Read and publish files of web servers, FTP servers and object stores",
    remote_stores={
        "http": "hven.plugins.file_servers.web_store:WebStore",
        "https": "hven.plugins.file_servers.web_store:WebStore",
        "ftp": "hven.plugins.file_servers.ftp_store:FtpStore",
        "s3": "hven.plugins.file_servers.s3_store:S3Store",
        "s3a": "hven.plugins.file_servers.s3_store:S3Store",
        **dict.fromkeys(FSSPEC_SCHEMES, "hven.plugins.file_servers.fsspec_store:FsspecStore"),
    },
    remote_file_cache="hven.plugins.file_servers.block_cache:RemoteBlockCache",
)
