#!/usr/bin/env bash
# From nothing to a real server's login prompt, with the unmodified openstack client. Leaves the cloud running.
set -euo pipefail
cd "$(dirname "$0")/.."
PILEUS=$PWD/.venv/bin/pileus OS=$PWD/.venv/bin/openstack
STATE=${PILEUS_STATE:-/var/lib/pileus}
LISTEN=${PILEUS_LISTEN:-127.0.0.1:8780}
inside=() netns=()
if [ -n "${PILEUS_NETNS:-}" ]; then
    netns=(--netns "$PILEUS_NETNS")
    inside=(ip netns exec "$PILEUS_NETNS")
fi
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '$ openstack'; printf ' %q' "$@"; echo; "${inside[@]}" "$OS" "$@"; }
quiet() { "${inside[@]}" "$OS" "$@"; }

say "starting the cloud in $STATE"
if "$PILEUS" status --state "$STATE" > /dev/null 2>&1; then
    echo "it runs already"
else
    "$PILEUS" up --state "$STATE" --listen "$LISTEN" "${netns[@]}" --detach
fi
eval "$("$PILEUS" openrc --state "$STATE" --project demo)"

say "image, key pair, network, subnet"
have() { quiet "$@" > /dev/null 2>&1; }
have image show tiny || show image create --disk-format qcow2 --container-format bare --file build/tiny/tiny.qcow2 tiny -c id -c status -c size
have keypair show demo-key || { show keypair create demo-key > build/demo-key.pem; chmod 600 build/demo-key.pem; }
have network show demo-net || show network create demo-net -c id -c status
have subnet show demo-subnet || show subnet create --network demo-net --subnet-range 10.20.0.0/24 demo-subnet -c id -c cidr

say "a server on real QEMU"
name=demo-$(date +%H%M%S)
began=$(date +%s.%N)
show server create --image tiny --flavor m1.nano --network demo-net --key-name demo-key --wait "$name" \
    -c id -c name -c status -c addresses
printf 'ACTIVE after %.1f s\n' "$(echo "$(date +%s.%N) $began" | awk '{print $1 - $2}')"
echo "address: $(quiet server show "$name" -f value -c addresses)"

say "its console, once it asks for a login"
for _ in $(seq 240); do
    quiet console log show "$name" > build/console.txt
    grep -q 'login:' build/console.txt && break
    sleep 0.5   # a guest has no event to wait for: its console is all that shows
done
tail -n 15 build/console.txt
grep -q 'login:' build/console.txt || { echo "no login prompt appeared" >&2; exit 1; }

say "its trace"
"$PILEUS" trace --state "$STATE" "$name"

cat <<END

The cloud keeps running at http://$LISTEN/identity. To use it:
    eval "\$($PILEUS openrc --state $STATE --project demo)"; ${inside[*]} $OS server list
To stop it:
    $PILEUS down --state $STATE
END
