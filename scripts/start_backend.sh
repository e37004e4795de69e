#!/bin/sh
# Sets up what is missing, then starts the backend that Blender's panel finds by itself. Stop it with Ctrl-C or by closing the window.
for python in python3.11 python3 python3.12 python3.13 python; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 &&
    exec "$python" "$(dirname "$0")/bootstrap.py" serve "$@"
done
echo "restage4d: Python 3.11 or newer was not found. Install it (on Debian 12: apt-get install python3 python3-venv)." >&2
exit 1
