"""RMSE of explicit ratings on MovieLens: the paper command's experiment, ML-1M with it."""

import argparse
from pathlib import Path

from common import DATA, write

from rfm_recsys.paper.ratings import explicit_ratings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds ml-100k and ml-1m")
    results = explicit_ratings(quick=False, folder=parser.parse_args().data)
    for data in results["data"]:
        for row in data["models"]:
            print(f"{data['name']}, {row['model']}: {row['mean rmse']:.4f}", *[fold["chosen"] for fold in row["folds"]])
    write("ratings", {data["name"]: {row.pop("model"): row for row in data["models"]} for data in results["data"]})


if __name__ == "__main__":
    main()
