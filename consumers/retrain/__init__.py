"""The retraining daemon: answers requests with candidates."""
