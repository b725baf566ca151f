"""The Kafka engine, and the only package that imports `kafka` (kafka-python).

It adds what the client does not do: it bounds the sends in flight and raises their errors, polls
partitions fairly, puts a timeout on calls that could wait for ever, and fences by a transactional
producer whose transactional id is the topic.
"""

from pipeline.eventlog.kafka.admin import ready
from pipeline.eventlog.kafka.log import KafkaLog

__all__ = ["KafkaLog", "ready"]
