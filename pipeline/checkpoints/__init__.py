"""A learner's complete state on disk: capture, store, restore, rebuild and audit."""
