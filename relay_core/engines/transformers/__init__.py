"""A model in this process, on transformers' continuous batching.

engine.py            the engine: starting, streaming, pausing, live weights
manager.py           the continuous batching manager: started, fed, paused, stopped
request.py           one stream, between the manager's thread and its consumer's event loop
sampler.py           sampling, stopping and delivery for a whole batch
self_check.py        a known answer, checked once for versions of transformers and classes that are not tested
paged_attention.py   attention over the paged cache, for models without a flash implementation
attention_plan.py    where the queries and keys of a step are
attention_setup.py   which attention a model gets, and how the cache is laid out for it
lent_model.py        a model that the caller passed in: changed for generation, and put back
options.py           options of batching and of the cache, checked
cache_size.py        the size of an automatically sized cache
"""

from relay_core.engines.transformers.engine import TransformersEngine

__all__ = ["TransformersEngine"]
