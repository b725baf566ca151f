"""What a server knows: a snapshot, and what it has read since."""
