"""The demo: every daemon as a process of its own on one machine, watched, then summed up."""
