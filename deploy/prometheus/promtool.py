"""Find promtool and Prometheus, or unpack them from Debian's package without installing it.

    python -m deploy.prometheus.promtool check rules deploy/prometheus/alerts.yaml

What is unpacked is kept in `.cache/prometheus`.
"""

from __future__ import annotations

import os
import sys

from deploy.debian import program

if __name__ == "__main__":
    tool = program("prometheus", "promtool")
    os.execv(tool, [str(tool), *sys.argv[1:]])
