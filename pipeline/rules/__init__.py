"""Business rules: what may be shown, what is favoured, what has its place, as data on a compacted topic.

A rule has an action and conditions, and no language of its own to parse. Rules act on candidates before
ranking ends, so a filter never shortens an answer that other items could fill. Where rules contradict each
other, a filter wins over a cap, a cap over a pin, and among pins the higher priority.
"""
