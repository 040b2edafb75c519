"""A reader of pickles that can build nothing but tensors and plain containers."""
