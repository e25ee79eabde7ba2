#!/usr/bin/env bash
# Every test, or the parts named: tools/test.sh [PART...]
#
# Two parts run at a time; they share nothing (each cloud has its own ports, folder, database and network namespace). The
# simulation takes what processor time they leave. Logs are in build/test/, how long each test took in build/durations.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
PARTS=(real-cloud api unit postgresql faults real-drivers) # the longest first
LOGS=build/test

run() { # run PART
    local on_coverage=(.venv/bin/coverage run -m pytest) plainly=(.venv/bin/python -m pytest)
    local keep=(--durations-file "$LOGS/$1.durations")
    case $1 in
    unit | api) "${on_coverage[@]}" "${keep[@]}" "tests/$1" ;;
    faults) "${plainly[@]}" "${keep[@]}" tests/faults ;; # who is killed tells no coverage
    real-cloud) "${on_coverage[@]}" "${keep[@]}" tests/real/cloud ;;
    real-drivers) "${on_coverage[@]}" "${keep[@]}" tests/real --ignore tests/real/cloud ;;
    postgresql) "${plainly[@]}" "${keep[@]}" tests/unit tests/api tests/faults --database postgresql -m database ;;
    simulation) "${plainly[@]}" "${keep[@]}" -s tests/simulation ;; # coverage would take twice as long and find nothing new
    *) echo "no part of the tests: $1" >&2 && return 2 ;;
    esac
}

report() { # report PART: run it; say how it ended, and all it said if it failed
    local began=$SECONDS ended=passed
    run "$1" > "$LOGS/$1.log" 2>&1 || ended=FAILED
    [ $ended = passed ] || cat "$LOGS/$1.log"
    echo "$1 $ended in $((SECONDS - began)) s: $(tail -n 1 "$LOGS/$1.log" | tr -d =)"
    [ $ended = passed ]
}

leftovers() { # leftovers COMMAND...: run it in a session of its own that gives way to all others
    exec setsid bash -c '{ echo 19 > /proc/self/autogroup; } 2> /dev/null; exec nice -n 19 "$@"' leftovers "$@"
}

if [ "${1:-}" = --part ]; then
    report "$2"
    exit
fi
if [ "$(id -u)" != 0 ]; then
    echo "tests/real needs root: namespaces, libvirt and Open vSwitch" >&2
    PARTS=(api unit postgresql faults)
fi
rm -rf build/coverage "$LOGS"
mkdir -p build/coverage "$LOGS"
if [ $# -gt 0 ]; then
    printf '%s\n' "$@" | xargs -n 1 -P 2 "$0" --part
    exit
fi
leftovers "$0" --part simulation &
SIMULATION=$!
trap 'kill -- -$SIMULATION 2> /dev/null || true' EXIT
failed=0
printf '%s\n' "${PARTS[@]}" | xargs -n 1 -P 2 "$0" --part || failed=1
wait $SIMULATION || failed=1
sort -rn "$LOGS"/*.durations > build/durations.txt
echo "The longest of $(wc -l < build/durations.txt) in build/durations.txt:"
head -n 25 build/durations.txt
.venv/bin/coverage combine --quiet
.venv/bin/coverage report --skip-covered --show-missing > build/coverage.txt || true
tail -n 3 build/coverage.txt
.venv/bin/coverage report --format=total --fail-under=90
exit $failed
