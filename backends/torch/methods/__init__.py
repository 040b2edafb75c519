"""The methods as PyTorch modules: `NAME.Network(config, seed=0)` each, with fresh weights."""
