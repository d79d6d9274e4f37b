"""Data sets: the generator, the readers of the real layouts, decoding, loading, augmenting and caching."""
