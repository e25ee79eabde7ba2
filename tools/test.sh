#!/usr/bin/env bash
# Every test: on SQLite with coverage, the simulation (whose seeds would take twice as long under coverage), then those
# that use a database again on PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/coverage
rm -f build/coverage/*
run() { .venv/bin/coverage run -m pytest "$@"; }
run tests/unit tests/api tests/faults
.venv/bin/python -m pytest -q -s tests/simulation
if [ "$(id -u)" = 0 ]; then
    run tests/real
else
    echo "tests/real needs root: namespaces, libvirt and Open vSwitch" >&2
fi
.venv/bin/python -m pytest tests/unit/operations tests/unit/network tests/api tests/faults --database postgresql
.venv/bin/coverage combine --quiet
.venv/bin/coverage report --skip-covered --show-missing > build/coverage.txt || true
tail -n 3 build/coverage.txt
.venv/bin/coverage report --format=total --fail-under=90
