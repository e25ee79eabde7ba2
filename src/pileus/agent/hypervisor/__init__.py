"""Hypervisor drivers: libvirt for real guests, fake for simulated clouds."""
