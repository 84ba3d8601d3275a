"""The packages, built and installed."""
