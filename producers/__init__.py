"""Commands that write events to the log: play and simulate."""
