"""The embedded engine: one SQLite file in WAL mode, shared by the processes of one machine.

The file's layout is in `database`.
"""

from pipeline.eventlog.sqlite.log import SqliteLog

__all__ = ["SqliteLog"]
