"""The gateway: events come in over HTTP, and are acknowledged once they are durable in the log."""
