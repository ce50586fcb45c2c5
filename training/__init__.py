"""The recipe of the demo checkpoint: a small world of spoken exchanges, a codec and a language model trained on it."""
