#!/bin/sh
# Sets up what is missing, then: linter, types and all tests, the Blender ones included.
#   scripts/test.sh [--ci: the slow ones too] [options of pytest]
for python in python3.11 python3 python3.12 python3.13 python; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 &&
    exec "$python" "$(dirname "$0")/bootstrap.py" test "$@"
done
echo "restage4d: Python 3.11 or newer was not found. Install it (on Debian 12: apt-get install python3 python3-venv)." >&2
exit 1
