"""Threads of the linear algebra below NumPy, which are fixed when NumPy is first imported."""

import os

__all__ = ["one_blas_thread"]


def one_blas_thread() -> None:
    """Let NumPy multiply matrices on one thread, unless the user's environment says otherwise.

    The products of a bootstrap are small: a second thread waits in a spinning loop more than it works. On two
    busy cores a whole report took 34 s of CPU with two threads and 17 s with one (`bench/report.py`).
    """
    if not {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"} & os.environ.keys():
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
