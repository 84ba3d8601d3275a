"""The journal after a failure: explained, reported, followed."""
