"""How millstream learns from the stream, and how it gets back to where it was."""
