"""A setup told in plain sentences, from its events alone."""
