#!/usr/bin/env bash
# What clients notice (bench/measure.py), on a quiet machine; the result is printed and kept in bench/results/latest.json.
set -euo pipefail
cd "$(dirname "$0")/.."
client=${BENCH_CLIENT:-../shared/bench/bench.py}
mkdir -p bench/results
[ -e "$client" ] && extra=(--client "$client" -- --skip migrate,volume --quiet 0.3) || extra=()
.venv/bin/python bench/measure.py "${extra[@]}" | tee bench/results/latest.json
