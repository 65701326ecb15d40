#!/bin/sh
# Print the path of a Python that can run Airflow: 3.11 or newer, with venv and pip.
# Usage: lab/python.sh   ($PYTHON, if set, is the only one looked at)
set -eu

# A pyenv shim exists for versions that are not active too, so each candidate is run.
for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
    path=$("$candidate" -c 'import sys; print(sys.executable if (3, 11) <= sys.version_info < (3, 15) else "")' 2>/dev/null) || continue
    [ -n "$path" ] || continue
    if "$path" -c 'import ensurepip, venv' 2>/dev/null; then
        printf '%s\n' "$path"
        exit 0
    fi
    without=$path
done
if [ -n "${without:-}" ]; then
    echo "lab/python.sh: $without has no venv: apt-get install python3-venv, and run this again" >&2
else
    echo "lab/python.sh: no Python 3.11 or newer found: install one (apt-get install python3 python3-venv) or set PYTHON to its path" >&2
fi
exit 1
