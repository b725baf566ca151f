"""Follow the log and the announced snapshots."""
