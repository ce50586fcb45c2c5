"""Training of the demo language model."""
