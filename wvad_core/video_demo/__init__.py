"""The demo of whole videos: scenes drawn from a seed, the extractor and the detector that are bundled for them.

A street and a square in front of it, on which people walk, stand and talk, sit, cycle; what goes wrong there is an anomaly: somebody
runs, two fight, a bin burns, a van drives over the square, somebody falls. docs/make_video_demo.py made the weights.
"""
