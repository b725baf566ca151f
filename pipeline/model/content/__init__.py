"""Encoding of item content to frozen vectors."""
