"""The optional judge: a second opinion on the detectors, by a language model behind an OpenAI-compatible endpoint.

labels.py is what it is asked and how its replies are read, endpoint.py the asking, cache.py what was answered before,
sample.py which rollouts, agreement.py the statistics, judged.py all of it together. No figure of `r1rl aha` needs it.
"""
