"""The MindSpore backend of wvad: Ascend, GPU and CPU."""
import os

os.environ.setdefault("GLOG_v", "3")  # MindSpore warns on stderr of communication libraries that one device does not need

from .requirements import check_numpy

check_numpy()
