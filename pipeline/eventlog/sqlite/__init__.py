"""The embedded engine: one SQLite file in WAL mode, shared by the processes of one machine.

`database` describes the layout of the file.
"""

from pipeline.eventlog.sqlite.log import SqliteLog

__all__ = ["SqliteLog"]
