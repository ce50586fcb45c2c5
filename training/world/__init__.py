"""Spoken exchanges between callers and Moshi, made by speech synthesisers: the data of the demo checkpoint."""
