#!/bin/sh
# For macOS, where a double click runs this file in a terminal: the same as start_backend.sh.
exec "$(dirname "$0")/start_backend.sh" "$@"
