"""What the journal promises of the host, held against it: what drifted, who holds what, and what must be said first."""
