"""The real program under strace: killed, or given an error, at every system call by which it changes something."""
