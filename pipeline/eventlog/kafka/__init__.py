"""The Kafka engine, and the only package that imports `kafka` (kafka-python).

What the client does not do by itself is done here: sends in flight are bounded and their errors
raised, polls are fair over partitions, calls that could wait for ever are given up on, and
fencing is a transactional producer whose transactional id is the topic.
"""

from pipeline.eventlog.kafka.admin import ready
from pipeline.eventlog.kafka.log import KafkaLog

__all__ = ["KafkaLog", "ready"]
