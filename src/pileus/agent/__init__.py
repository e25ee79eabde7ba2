"""What runs on a host: executes typed, idempotent commands. Imports nothing of the control plane."""
