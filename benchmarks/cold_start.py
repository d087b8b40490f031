"""Cold start: importing beyond numpy, scipy and numba, and the first fit with an empty and a filled kernel cache."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from common import write

IMPORTS = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
STACK = "numpy, scipy.sparse, scipy.linalg, numba"
OURS = "rfm_recsys.recommender.model, rfm_recsys.ratings, rfm_recsys.completion"
FITS = """
import time
import numpy as np
from scipy.sparse import random as sparse
from rfm_recsys import LinRFM
data = sparse(3000, 1000, 0.05, format="csr", dtype=np.float32, random_state=0)
for _ in range(2):
    begun = time.perf_counter()
    LinRFM(64).fit(data, show_progress=False)
    print(time.perf_counter() - begun)
begun = time.perf_counter()
LinRFM(64).fit(data, show_progress=False).recommend(0, data[0])
print(time.perf_counter() - begun)
"""


def python(code: str, **environment: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return [float(line) for line in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    python(IMPORTS.format(OURS))
    alone, ours = [], []
    for _ in range(arguments.repeats):
        alone.append(python(IMPORTS.format(STACK))[0])
        ours.append(python(IMPORTS.format(OURS))[0])
    result: dict[str, Any] = {"import of the stack": statistics.median(alone), "of rfm_recsys": statistics.median(ours)}
    result["import beyond the stack"] = result["of rfm_recsys"] - result["import of the stack"]
    with tempfile.TemporaryDirectory() as cache:
        result["fits, empty cache"] = python(FITS, NUMBA_CACHE_DIR=cache)
        warm = [python(FITS, NUMBA_CACHE_DIR=cache) for _ in range(arguments.repeats)]
    result["fits, filled cache"] = [statistics.median(column) for column in zip(*warm, strict=True)]
    result["first beyond second, filled cache"] = statistics.median(one[0] - one[1] for one in warm)
    for name, value in result.items():
        print(f"{name}: {value}")
    write("cold_start", result)


if __name__ == "__main__":
    main()
