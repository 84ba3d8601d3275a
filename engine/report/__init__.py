"""The report of a setup: one page of HTML that needs no network and no script, good to give away."""
