"""Reproduce recorded answers from checkpoint, journal and log, and compare."""
