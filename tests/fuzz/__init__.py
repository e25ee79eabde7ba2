"""Hostile requests, drawn by a seed, for every route of the URL map."""
