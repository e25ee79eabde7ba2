"""Placement: resource providers, inventories, traits and allocations."""
