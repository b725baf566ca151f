"""Follows the log and the announced snapshots."""
