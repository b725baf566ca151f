"""What a policy would have earned, estimated from what another one showed and what came of it."""
