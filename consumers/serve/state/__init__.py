"""The state of a server: a snapshot, and the records read after it."""
