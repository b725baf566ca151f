"""Watches what the learner does: drift detection, the regression guard; the supervisor acts on both."""
