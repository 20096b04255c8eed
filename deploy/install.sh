#!/bin/sh
# install.sh EXTRA…: what these extras of pyproject.toml need, in the versions of constraints.txt, into /opt/tintype.
set -eu
python requirements.py "$@" >extras.txt
pip --python /opt/tintype/bin/python --disable-pip-version-check install --no-cache-dir \
    --constraint constraints.txt --requirement extras.txt
