"""Learned values of showing an item: from outcomes, for policies."""
