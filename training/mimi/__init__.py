"""Training of a small Mimi: the published structure as differentiable modules, its losses and its loop."""
