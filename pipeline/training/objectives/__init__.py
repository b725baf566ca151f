"""What the learner minimises: L = α·L_uns + (1 − α)·L_sup, each part one of several by the settings."""
