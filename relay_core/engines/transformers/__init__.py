"""A model in this process, on transformers' continuous batching.

engine.py            the engine: starting, streaming, pausing, live weights
manager.py           starts, feeds, pauses and stops the continuous batching manager
request.py           one stream, between the manager's thread and its consumer's event loop
sampler.py           sampling, stopping and delivery for a whole batch
head.py              a head on the hidden state: its files and its probabilities
heads.py             computes the heads of the requests of a step
grammars.py          compiles constraints; the state of one constrained request
masks.py             computes the masks of constrained requests during the forward pass
reading.py           what the model makes of each token of a given answer
plain_model.py       puts models into the state for transformers' own forward passes
assisted.py          speculative decoding: a model with another one as its draft, by transformers
end_tokens.py        the tokens at which a model ends its answer
self_check.py        a check of untested versions of transformers and of untested model classes
paged_attention.py   attention over the paged cache, for models without a flash implementation
attention_plan.py    locates the queries and keys of a step
attention_setup.py   installs our attention in a model, and lays out the cache for this attention
lent_model.py        prepares a model object that the caller passed in, and restores it afterwards
precision.py         which precision suits a processor
options.py           checks the options of batching and of the cache
cache_size.py        computes the size of the cache, and says what would fit
footprint.py         computes from a model's folder how much memory the model needs
memory.py            computes a device's free memory, and how much of it this process's engines hold
model_memory.py      tells the other engines of the process how much memory one engine's model needs
forecast.py          computes how much memory a pair will need, before it is loaded (``relay doctor``)
"""

from relay_core.engines.transformers.engine import TransformersEngine

__all__ = ["TransformersEngine"]
