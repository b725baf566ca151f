"""Answers stored requests again, as they were answered."""
