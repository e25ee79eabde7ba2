"""Network drivers: OVN for real networks, fake for simulated clouds."""
