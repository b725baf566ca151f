"""The journal of learned batches, and the batches that are cut from the log along it."""
