"""Import ``pycurl`` without ``SSLKEYLOGFILE`` in the environment.

libcurl reads the variable when it starts, and would write the keys of all TLS connections to that file. All other
modules import ``pycurl`` from here.
"""

from __future__ import annotations

import os
import sys
from typing import Final

LOGS_KEYS: Final = "pycurl" in sys.modules and "SSLKEYLOGFILE" in os.environ
"""Whether other code may have started libcurl before, so that it also logs our keys."""

_key_log = os.environ.pop("SSLKEYLOGFILE", None)
try:
    import pycurl

    pycurl.global_init(pycurl.GLOBAL_ALL)
finally:
    if _key_log is not None:
        os.environ["SSLKEYLOGFILE"] = _key_log

__all__ = ["LOGS_KEYS", "pycurl"]
