"""The lab's pure parts: what counts as a difference, which mirror is taken, what the table says."""
