"""The methods as PyTorch modules: `bn_wvad.Network(config)` and so on."""
