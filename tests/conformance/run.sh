#!/usr/bin/env bash
# Runs the upstream tests of tests.txt against a fresh cloud on simulated hosts. Exit 0: all passed; 1: deviations;
# 2: could not run.
#
#   run.sh [--lab] [options of run-tempest.sh]      for example --concurrency 1, --label NAME, --list
#
# --lab: those tests of the list that place and move servers, against a lab of three hosts with real guests. Root's.
#
#   CONFORMANCE   folder with run-tempest.sh (default ../shared/conformance, beside the repository)
#   CONFORMANCE_WORK   virtual environment, workspace and results (default build/conformance)
#   PILEUS        the program (default .venv/bin/pileus);  PORT   where the cloud listens (default 8791)
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
suite=${CONFORMANCE:-$root/../shared/conformance}
pileus=${PILEUS:-$root/.venv/bin/pileus}
export CONFORMANCE_WORK=${CONFORMANCE_WORK:-$root/build/conformance}

fail() { echo "conformance: $*" >&2; exit 2; }
[ -x "$suite/run-tempest.sh" ] || fail "$suite/run-tempest.sh is not there; set CONFORMANCE to the folder that has it"
[ -x "$pileus" ] || fail "$pileus is not there; run 'make setup' or set PILEUS"
mkdir -p "$CONFORMANCE_WORK" || fail "cannot make $CONFORMANCE_WORK"

tests=$here/tests.txt label=pileus inside=()
trap 'exit 2' INT TERM
if [ "${1:-}" = --lab ]; then
  shift
  label=lab inside=(ip netns exec pileus-lab-1) state=$(mktemp -u /var/tmp/pileus-conformance.XXXXXX)
  trap '"$pileus" lab down --state "$state" >/dev/null 2>&1' EXIT
  "$pileus" lab up --hosts 3 --state "$state" || fail "the lab did not start"
  openrc=$("$pileus" openrc --state "$state/host-1")
  export TEMPEST_IMAGE_FILE=${PILEUS_TEST_IMAGE:-$root/build/tiny/tiny.qcow2} TEMPEST_FLAVOR_RAM=192
  tests=$CONFORMANCE_WORK/lab.txt
  grep -E 'admin\.test_(live_migration|migrations|servers_on_multinodes)|test_server_multinode|ServersAffinity|test_aggregates_basic' \
    "$here/tests.txt" >"$tests"
else
  state=$(mktemp -d /var/tmp/pileus-conformance.XXXXXX) || fail "no folder for the cloud's state"
  chmod 755 "$state"
  trap '"$pileus" down --state "$state" >/dev/null 2>&1; rm -rf "$state"' EXIT
  "$pileus" up --state "$state" --listen "127.0.0.1:${PORT:-8791}" --hypervisor fake --network fake --fake-hosts 3 \
    --detach || fail "the cloud did not start"
  openrc=$("$pileus" openrc --state "$state")
fi
# The results are where the last --label says.
for ((n = 1; n < $#; n++)); do
  [ "${!n}" != --label ] || { next=$((n + 1)) && label=${!next}; }
done
[ -n "$openrc" ] && eval "$openrc" || fail "no credentials"

# Servers get their addresses on one shared network: the network of their own that tempest would make for each
# project needs a router.
"${inside[@]}" "$(dirname "$pileus")/python" "$here/shared_network.py" conformance-private ||
  fail "the shared network was not made"

# What this release does not have is declared, so that tests skip instead of failing where tempest can tell.
results=$CONFORMANCE_WORK/results/$label
rm -rf "$results"
"${inside[@]}" "$suite/run-tempest.sh" --work "$CONFORMANCE_WORK" --label "$label" --concurrency 2 \
  --set service_available.cinder=false \
  --set auth.create_isolated_networks=false \
  --set compute.fixed_network_name=conformance-private \
  --set validation.connect_method=fixed \
  --set network-feature-enabled.floating_ips=false \
  --set compute-feature-enabled.vnc_console=false \
  --set compute-feature-enabled.serial_console=false \
  --set identity-feature-enabled.security_compliance=false \
  --set image-feature-enabled.import_image=false \
  --load-list "$tests" "$@"
status=$?

# A test of the list that skips, or that tempest does not know, did not pass.
if [ "$status" = 0 ] && [ -e "$results/summary.txt" ]; then
  if ! tail -1 "$results/summary.txt" | grep -q 'skipped=0'; then
    echo "conformance: skipped:" >&2 && cat "$results/skips.txt" >&2 && status=1
  fi
  if grep -q . "$results/wanted-not-listed.txt"; then
    echo "conformance: tempest has no such tests:" >&2 && cat "$results/wanted-not-listed.txt" >&2 && status=1
  fi
fi
exit "$status"
