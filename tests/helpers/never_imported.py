"""A module whose import never ends, for a worker that never begins."""

import time

time.sleep(3600)
