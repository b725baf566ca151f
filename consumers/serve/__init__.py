"""The serving daemon: answers from a snapshot and from the records read after it.

``follow`` reads the log and builds ``state`` (a loaded snapshot and a tail) into Views;
``ranking`` scores a history against a View; ``service`` answers queries; ``http`` is the
HTTP interface.
"""
