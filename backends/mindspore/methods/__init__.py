"""The methods as MindSpore cells: `NAME.Network(config)` each."""
