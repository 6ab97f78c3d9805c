"""The optional judge: a second opinion on the detectors, by a language model behind an OpenAI-compatible endpoint."""
