#!/bin/sh
# Pins what a box installs anew, with published hashes: after a change of constraints.txt.
#   pip install pip-tools; packaging/pin.sh
set -eu
cd "$(dirname "$0")/.."
out=packaging/requirements-box.txt
{
  sed -n '/^#/p' "$out"
  pip-compile --quiet --no-config --generate-hashes --no-header --no-annotate --strip-extras \
    --no-emit-index-url --no-emit-find-links --allow-unsafe --extra modbus --extra mqtt --extra opcua \
    --extra page --extra store \
    -c constraints.txt -o - pyproject.toml
} > "$out.new"
mv "$out.new" "$out"
