"""The console: pages on which an operator sees how the recommender is, asks it, and changes it."""
