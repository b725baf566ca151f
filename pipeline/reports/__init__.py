"""Tables for the terminal; apart from the commands, only this package formats output for people."""

from pathlib import Path

PLOTS = Path(__file__).parent / "page" / "uplot"
"""The library that draws plots in browsers."""
