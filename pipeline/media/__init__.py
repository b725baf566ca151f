"""Media of items, pictures and sounds: fetched within limits, and encoded to vectors."""
