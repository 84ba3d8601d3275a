"""The way back: how each deed is undone is decided first, then done, one journaled action at a time."""
