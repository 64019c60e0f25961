# Copies the part of Debian that Hven needs into a directory, which becomes the root of the image.
#   sh copy-system.sh /image
set -eu
image=$1
# Python with its libraries, certificates, time zones, and a shell
packages="base-files base-passwd ca-certificates dash libacl1 libattr1 libbz2-1.0 libc6 libcrypt1 libexpat1 libffi8
 libgcc-s1 liblzma5 libpcre2-8-0 libpython3-stdlib libpython3.11-minimal libpython3.11-stdlib libselinux1
 libsqlite3-0 libssl3 libstdc++6 libuuid1 media-types python3 python3-minimal python3.11 python3.11-minimal tzdata zlib1g"
# commands for operators who look into a container
commands="cat chmod cp date df du env head id ls mkdir mv rm sleep stat tail touch true wc"

cd /
mkdir -p "$image/usr/bin" "$image/usr/lib" "$image/usr/lib64" "$image/usr/sbin"
cp -a bin lib lib64 sbin "$image"
{
  # shellcheck disable=SC2086
  dpkg-query --listfiles $packages
  for command in $commands; do echo "/bin/$command"; done
} | while read -r path; do
  case $path in
    /bin | /lib | /lib64 | /sbin) continue ;;
    /usr/share/doc/*/copyright) ;;
    # manuals, texts in other languages, and character sets that only iconv uses
    /usr/share/doc/* | /usr/share/man/* | /usr/share/info/* | /usr/share/locale/* | /usr/share/lintian/* | */gconv/*) continue ;;
    # documentation of Python, and modules whose libraries are not in the image
    */pydoc_data/* | */_curses*.so | */_dbm*.so | */readline*.so) continue ;;
  esac
  if [ -L "$path" ] || [ -f "$path" ]; then printf '%s\n' "$path"; fi
done | sort -u | xargs cp -a --parents -t "$image"
cp -a --parents etc/group etc/nsswitch.conf etc/passwd etc/ssl/certs "$image"
# the packages with their versions, for scanners
mkdir -p "$image/var/lib/dpkg"
# shellcheck disable=SC2086
dpkg-query --status $packages coreutils >"$image/var/lib/dpkg/status"
mkdir -p "$image/dev" "$image/opt" "$image/proc" "$image/run" "$image/site/var" "$image/sys"
mkdir -m 1777 "$image/tmp" "$image/var/tmp"
chown 10001:10001 "$image/site/var"
