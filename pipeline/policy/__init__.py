"""Policies: how a slate is made of scored candidates, and with which propensities."""
