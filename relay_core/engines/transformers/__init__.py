"""A model in this process, on transformers' continuous batching.

engine.py            the engine: starting, streaming, pausing, live weights
manager.py           starts, feeds, pauses and stops the continuous batching manager
request.py           one stream, between the manager's thread and its consumer's event loop
sampler.py           sampling, stopping and delivery for a whole batch
head.py              a head on the hidden state: its file, its probabilities
heads.py             computes the heads of the requests of a step
self_check.py        a check of untested versions of transformers and of untested model classes
paged_attention.py   attention over the paged cache, for models without a flash implementation
attention_plan.py    locates the queries and keys of a step
attention_setup.py   installs an attention in a model, and lays out the cache for it
lent_model.py        changes a model that the caller passed in for generation, and restores it
options.py           checks the options of batching and of the cache
cache_size.py        computes the size of the cache, and says what would fit
footprint.py         computes what a model takes, from its folder
memory.py            computes what a device has free, and what this process's engines hold of it
model_memory.py      tells the other engines of the process what one engine's model takes
forecast.py          computes what a pair takes before it is loaded, for ``relay doctor``
"""

from relay_core.engines.transformers.engine import TransformersEngine

__all__ = ["TransformersEngine"]
