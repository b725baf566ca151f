"""Commands that write events to the log."""
