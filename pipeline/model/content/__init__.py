"""Item content to frozen vectors."""
