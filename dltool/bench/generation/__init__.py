"""Generating text with a language model: the prompt at once (prefill), then token by token (decode), with a KV cache.

speakers.py   a model with its cache, whoever wrote it; which names are language models
caches.py     keys and values: static (memory set apart) and dynamic (grown by each token)
steps.py      the three steps that are timed, plain, compiled or as a CUDA graph
backends.py   attention by the backend that is asked for
costs.py      operations, bytes and memory of the steps, from the meta device
checking.py   the same scores as without a cache
figures.py    what is told of a step: TTFT, TPOT, bandwidth, memory
"""
