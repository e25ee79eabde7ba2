"""Disks of guests on this host."""
