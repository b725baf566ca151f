"""The journal of learned batches, and the batches that the log and the journal give."""
