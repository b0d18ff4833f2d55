"""What a model costs: parameters, memory, FLOPs, latency, energy, and quantized weights."""
