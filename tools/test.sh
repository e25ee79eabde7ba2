#!/usr/bin/env bash
# Every test: on SQLite with coverage, then those that use a database again on PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."
run() { .venv/bin/coverage run -m pytest "$@"; }
rm -f .coverage .coverage.*
export COVERAGE_PROCESS_START=$PWD/pyproject.toml
run tests/unit tests/api tests/faults
[ "$(id -u)" = 0 ] && run tests/real
run tests/unit/operations tests/api tests/faults --database postgresql
.venv/bin/coverage combine --quiet
.venv/bin/coverage report --skip-covered --fail-under="${PILEUS_COVERAGE:-80}" | tail -40
