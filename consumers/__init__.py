"""Daemons and commands that read the event log: learn and serve."""
