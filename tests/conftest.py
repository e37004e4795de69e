"""Tests run on the CPU on every machine, where numbers are the same each time; `test_gpu.py` runs
those that want a GPU."""

import os

from restage4d.threads import let_waiting_threads_sleep

let_waiting_threads_sleep()  # as the command line and the service do; before torch is loaded
if not os.environ.get("RESTAGE4D_TEST_GPU"):  # which test_gpu.py sets
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
