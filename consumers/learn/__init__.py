"""The learning daemon: reads events, learns, journals, checkpoints, publishes."""
