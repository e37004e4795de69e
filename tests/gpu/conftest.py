"""These tests need an NVIDIA GPU: `tests/test_gpu.py` runs each file in a process of its own. Else
they are not collected."""

import os

from restage4d.splatting import choose_drawing

if not os.environ.get("RESTAGE4D_TEST_GPU") or choose_drawing().device == "cpu":
    collect_ignore_glob = ["test_*.py"]
