"""The command doubles: each answers as the real command would on a machine in this state, and changes what it would."""
