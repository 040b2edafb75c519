"""The methods as MindSpore cells: `NAME.Network(config, seed=0)` each, with fresh weights."""
