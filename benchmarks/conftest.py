"""The benchmarks, and so their tests, are for Linux: they read /proc."""

import sys

collect_ignore_glob = [] if sys.platform == "linux" else ["tests/*"]
