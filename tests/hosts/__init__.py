"""What every host promises, and what only a Linux host does."""
