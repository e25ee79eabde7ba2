#!/usr/bin/env bash
# Installs the Debian packages that Pileus stands on, those that are missing. Needs root only if any is.
set -euo pipefail
packages=(
    python3-venv python3-dev gcc pkg-config libvirt-dev          # to build the virtual environment
    qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients        # guests
    ovn-central ovn-host openvswitch-switch                       # networks
    nftables iproute2 ethtool procps curl                          # tests of them
    mtools dosfstools syslinux syslinux-common fdisk e2fsprogs cpio  # the test guest
    postgresql                                                    # tests on PostgreSQL
)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "missing packages, install them as root: apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "installing ${missing[*]}"
# No service is started by an installation: Pileus starts what it needs, where it needs it.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; trap 'rm -f $policy' EXIT; }
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
