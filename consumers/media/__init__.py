"""The media daemon: pictures and sounds of items become vectors of the catalogue."""
