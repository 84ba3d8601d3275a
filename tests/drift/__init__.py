"""Drift: the host changed behind our back."""
