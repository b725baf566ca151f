"""Everything that commands load, for the process that they are forked from: importing this is the work."""

from __future__ import annotations

from importlib import import_module

from pipeline.cli.imports import refuse_unused

refuse_unused()
for module in (
    *("consumers.learn.daemon", "consumers.serve.daemon", "consumers.retrain.daemon"),
    *("producers.bridge.daemon", "producers.gateway.daemon", "producers.play"),
    *("pipeline.eventlog.kafka", "pipeline.eventlog.sqlite"),
):
    import_module(module)
