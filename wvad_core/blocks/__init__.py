"""The blocks that models are made of, one file a block: its formula, its tensors, and their names in published checkpoints."""
