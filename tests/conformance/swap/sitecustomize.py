"""Lets every process of a run find the project, behind everything that it has itself.

At the end of ``sys.path`` the project's folders can't hide a module that a test
wants, as they could in ``PYTHONPATH``.
"""

import os
import sys

sys.path += os.environ["CONFORMANCE_PATH"].split(os.pathsep)
