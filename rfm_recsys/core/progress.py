"""The progress bar of all models, which says so while kernels are being compiled."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

from rfm_recsys.core.runtime import telling_of_compilation


@contextmanager
def progress(
    show: bool, *, total: int, desc: str, unit: str = "round", initial: int = 0
) -> Iterator["tqdm[Any] | None"]:
    """Show a progress bar; yield it, or None where it is off.

    Off, there is not even a bar that shows nothing: tqdm has a lock, which a fork in another thread may leave closed.
    """
    if not show:
        yield None
        return
    with tqdm(total=total, initial=initial, desc=desc, unit=unit) as bar:

        def tell(compiling: bool) -> None:
            bar.set_description(f"{desc} (compiling kernels, once)" if compiling else desc)

        with telling_of_compilation(tell):
            yield bar
