"""The MindSpore backend of wvad: Ascend, GPU and CPU."""
from .requirements import check_numpy

check_numpy()
