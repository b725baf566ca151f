"""Folds of the event log: no gradients, no torch; shared by learner and server."""
