"""The demo: run all daemons as processes on one machine, show their progress, then a summary."""
