"""Drift in a Debian root, brought about by the real tools."""
