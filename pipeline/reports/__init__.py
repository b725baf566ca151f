"""Tables for the terminal; the only room beside the commands that formats for people."""
