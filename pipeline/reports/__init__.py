"""Tables for the terminal; apart from the commands, only this package formats output for people."""
