"""The learner: one forward pass that scores and learns, its optimizer, replay and randomness."""
