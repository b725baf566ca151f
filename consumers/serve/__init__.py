"""The serving daemon: answers from a snapshot and from what the log said since.

``follower`` reads the log and builds ``state`` (a base and a tail) into Views; ``engine``
scores a history against a View; ``desk`` answers questions; ``app`` speaks HTTP.
"""
