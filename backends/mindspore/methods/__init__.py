"""The methods as MindSpore cells: `bn_wvad.Network(config)` and so on."""
