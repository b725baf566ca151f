"""Predicted ratings: what an item's text, its other ratings and a user's own ratings say of the next one."""
