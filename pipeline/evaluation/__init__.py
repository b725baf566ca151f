"""Prequential evaluation: how well the next events were predicted before they were learned."""
