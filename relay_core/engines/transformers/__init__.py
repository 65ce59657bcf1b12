"""A model in this process, on transformers' continuous batching.

engine.py            the engine: starting, streaming, pausing, live weights
manager.py           the continuous batching manager: sized, started, stopped
request.py           one stream, between the manager's thread and its consumer's event loop
sampler.py           sampling, stopping and delivery for a whole batch
paged_attention.py   attention over the paged cache, for CPUs
"""

from relay_core.engines.transformers.engine import TransformersEngine

__all__ = ["TransformersEngine"]
