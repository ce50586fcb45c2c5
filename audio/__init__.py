"""Signal code without I/O: the model's frame, PCM, G.711, Ogg, Opus and sample rates. Shared by gateway, clients,
training and benchmarks; raises ValueError, and whoever knows which field the bytes came in says so."""
