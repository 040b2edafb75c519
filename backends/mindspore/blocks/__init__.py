"""The blocks of `wvad_core.blocks` in MindSpore, one file a block."""
