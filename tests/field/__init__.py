"""What goes wrong for people, most reported first, and the faults of the article: each is a test of its own."""
