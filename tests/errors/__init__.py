"""All that the program can say of what went wrong: collected from its source, read as one text, held to one voice."""
