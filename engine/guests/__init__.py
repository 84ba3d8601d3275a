"""The guest: started, stopped, looked at, exported for other tools."""
