"""A host described in a file from which it can be simulated, without what names it or its people."""
