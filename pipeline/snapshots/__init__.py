"""Public, immutable snapshots: what serving needs, and nothing about users."""
