"""The bridge: reads topics that others made, and appends what their records mean to the event log."""
