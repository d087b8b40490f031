"""Protocols: what is split how, and what counts. Each is a TOML file, the ones that come with us by name."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

from scipy.sparse import csr_matrix

from rfm_recsys.datasets import Interactions
from rfm_recsys.errors import DataError, ParameterError
from rfm_recsys.evaluation import splits
from rfm_recsys.evaluation.metrics import CATALOGUE_METRICS, USER_METRICS
from rfm_recsys.evaluation.splits import SPLITS, Fold, Split

# beside this file in an installed package, in the folder of what was measured in a checkout
FOLDERS = (Path(__file__).parent / "protocols", Path(__file__).parents[2] / "evaluation" / "protocols")

VALIDATION_SHARE = 0.1  # of the training items of a published split that comes without a validation set

Data = Interactions | Sequence[csr_matrix]


@dataclass(frozen=True)
class Protocol:
    """How data are split and what is measured; the attributes are the keys of the TOML file.

    Attributes
    ----------
    name, title : str
    dataset : str
        The data set that it is meant for, as ``--dataset`` takes it.
    split : str
        A function of :mod:`rfm_recsys.evaluation.splits`; ``given_split`` takes the data as train, validation and test,
        or as train and test, and then a tenth of train for validation.
    metric : str
        What models are tuned on and judged by, as "ndcg@100".
    table : tuple of str
        The metrics that a table shows.
    cutoffs : tuple of int
        The cut-offs at which everything is measured.
    options : mapping
        Further arguments of the split.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import read_protocol
    >>> protocol = read_protocol("strong")
    >>> protocol.metric, len(protocol.apply(synthetic_movielens(200, 80, 4000), 0).test.users)
    ('ndcg@100', 20)
    """

    name: str
    title: str
    dataset: str
    split: str
    metric: str
    table: tuple[str, ...]
    cutoffs: tuple[int, ...]
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ParameterError(f"split is {self.split!r}; pass one of {', '.join(SPLITS)}")
        known = signature(SPLITS[self.split]).parameters
        for option in self.options:
            if option not in known or option == "random_state":
                raise ParameterError(f"{self.split} has no option {option!r}; pass some of {', '.join(known)}")
        if not self.cutoffs or any(type(k) is not int or k < 1 for k in self.cutoffs):
            raise ParameterError(f"cutoffs are {self.cutoffs}; pass positive integers")
        for metric in (self.metric, *self.table):
            name, _, k = metric.partition("@")
            if name not in (*USER_METRICS, *CATALOGUE_METRICS) or k not in map(str, self.cutoffs):
                raise ParameterError(
                    f"there is no metric {metric!r}; pass one of {', '.join((*USER_METRICS, *CATALOGUE_METRICS))}, and "
                    f"after an @ one of the cut-offs {self.cutoffs}"
                )
        if self.metric.partition("@")[0] not in USER_METRICS:
            raise ParameterError(f"{self.metric} has no value for each user; judge models by one of {(*USER_METRICS,)}")

    @property
    def needs_features(self) -> str | None:
        """Whose features it is about: "item", "user" or None."""
        return {"cold_items": "item", "cold_users": "user"}.get(self.split)

    def apply(self, data: Data, seed: int) -> Split:
        """Split data: every interaction is a positive, and has its value for the models that ask for it.

        Parameters
        ----------
        data : Interactions, or for data that are split already a sequence of matrices
        seed : int

        Returns
        -------
        Split

        Raises
        ------
        DataError
            Data that the split refuses.
        """
        function = SPLITS[self.split]
        if self.split == "given_split":
            if isinstance(data, Interactions):
                raise DataError(
                    f"{self.name} needs data that are split already; pass a folder with train.txt, test.txt"
                )
            train, *validation, test = map(splits.canonical_csr, data)
            return function(train, *(validation or [_tenth(train, seed)]), test)
        if not isinstance(data, Interactions):
            raise DataError(f"{self.name} splits the data itself; pass a file of interactions, or another protocol")
        seeds = {"random_state": seed} if "random_state" in signature(function).parameters else {}
        found = function(data, **seeds, **self.options)
        return Split(*(_with_features(fold, data) for fold in (found.validation, found.test)))


def read_protocol(name: str) -> Protocol:
    """Read a protocol that comes with us by its name, or any by the path of its TOML file.

    Parameters
    ----------
    name : str

    Returns
    -------
    Protocol

    Raises
    ------
    ParameterError
        No such protocol, or one that does not make sense.

    Examples
    --------
    >>> from rfm_recsys.evaluation import read_protocol
    >>> read_protocol("cold-items").split
    'cold_items'
    """
    ours = {path.stem: path for folder in FOLDERS for path in sorted(folder.glob("*.toml"))}
    path = ours.get(name, Path(name))
    if not path.is_file():
        raise ParameterError(f"there is no protocol {name!r}; pass one of {', '.join(ours)}, or a TOML file")
    try:
        table = tomllib.loads(path.read_text())
        table |= {key: tuple(table[key]) for key in ("table", "cutoffs")}
        return Protocol(**{"name": path.stem, "options": {}, **table})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ParameterError) as error:
        raise ParameterError(f"{path}: {error}; mend it after the example of those in evaluation/protocols") from error


def _with_features(fold: Fold, data: Interactions) -> Fold:
    users = data.user_features if fold.known else None  # of others there is no row in train
    return replace(fold, item_features=data.item_features, user_features=users)


def _tenth(train: csr_matrix, seed: int) -> csr_matrix:
    """Take a tenth of each user's items out of ``train``, in place, and return them."""
    rest = splits.random_fraction(train, VALIDATION_SHARE, seed).test.train
    taken = csr_matrix(train - rest)
    taken.eliminate_zeros()
    train.data, train.indices, train.indptr = rest.data, rest.indices, rest.indptr
    return taken
