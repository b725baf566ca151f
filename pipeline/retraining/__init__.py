"""Retrains: candidates, their training, the comparison with the champion, and the Gate."""
