"""The PyTorch backend of wvad: CPU and CUDA."""
