"""The methods as PyTorch modules: `NAME.Network(config)` each."""
