"""Tests run on the CPU on every machine, where numbers are the same each time; `test_gpu.py` runs
those that want a GPU."""

import os

if not os.environ.get("RESTAGE4D_TEST_GPU"):  # which test_gpu.py sets
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
