# Removes from a Python environment what a server does not need: tests, C headers, debug symbols, Arrow Flight and Arrow's
# client of S3 (Hven has its own).
#   sh trim-libraries.sh /opt/hven
set -eu
cd "$1"/lib/python3*/site-packages
# astropy imports its own folder of tests
find . -depth -type d \( -name tests -o -name include -o -name __pycache__ \) -not -path ./astropy/tests -exec rm -r {} +
find pyarrow -type f \( -name '*flight*' -o -name '*s3*' -o -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd' \) -delete
# The wheel has three copies of this library. The name with one number is the one that other libraries load.
find pyarrow -type f \( -name 'libarrow_python*.so' -o -name 'libarrow_python*.so.*.*' \) -delete
# Files that were changed after they were linked, for example those of numpy, must stay as they are.
find uvloop zstandard sqlalchemy granian pyarrow -name '*.so*' -type f -exec strip --strip-unneeded {} +
