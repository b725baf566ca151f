"""Prequential evaluation: how well events were predicted before they were learned."""
