"""Public, immutable snapshots: the state that serving needs, without user data."""
