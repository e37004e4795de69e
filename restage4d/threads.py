"""How threads wait, for the processes that are Restage4D's own."""

import os


def let_waiting_threads_sleep() -> None:
    """Lets threads that wait sleep instead of spin, in this process and those it starts, unless the
    environment says otherwise. Called before torch or numba is loaded: OpenMP reads this once.

    Beside a busy Blender a spinning fit runs five times slower (two cores and a load of 7: 8 s
    against 47 s). Importing restage4d does not do this: a library leaves the environment alone.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
