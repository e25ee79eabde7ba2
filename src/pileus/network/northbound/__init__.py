"""OVN's northbound database: the logical network, written by the control plane alone."""
