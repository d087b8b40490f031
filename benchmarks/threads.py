"""Two threads that each fit a model, beside the same two fits one after the other: their times, and the ratio.

With ``num_threads=1``, as a search with two jobs runs models: on two cores, half the time is the best that there is.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

from common import GIVEN, median_seconds, write

from rfm_recsys import LinRFM
from rfm_recsys.datasets import synthetic_movielens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    data = synthetic_movielens().to_csr()
    data.data[:] = 1
    rows = []
    for factors in (64, 256):

        def fit(_: int, factors: int = factors) -> None:
            LinRFM(factors, num_threads=1, **GIVEN).fit(data, show_progress=False)

        fit(0)
        with ThreadPoolExecutor(2) as pool:
            alone = median_seconds(lambda: [*map(fit, range(2))], arguments.repeats)
            together = median_seconds(lambda: [*pool.map(fit, range(2))], arguments.repeats)
        rows.append({"factors": factors, "seconds": {"in turn": alone, "at once": together}, "ratio": together / alone})
        print(rows[-1])
    write("threads", {"interactions": data.nnz, "rows": rows})


if __name__ == "__main__":
    main()
