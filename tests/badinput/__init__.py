"""What bad input gets: no traceback, no half-done change, the evidence in the journal, the exit code of its kind."""
