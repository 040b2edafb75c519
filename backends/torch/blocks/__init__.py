"""The blocks of `wvad_core.blocks` in PyTorch, one file a block."""
