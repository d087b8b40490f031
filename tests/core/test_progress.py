"""Progress bars: they say when kernels are being compiled, and are not there at all when they are off."""

import pytest
from numba.core import event

from rfm_recsys.core import progress as module
from rfm_recsys.core.progress import progress


def test_a_bar_says_so_while_kernels_are_being_compiled() -> None:
    with progress(True, total=2, desc="LinRFM") as bar:
        assert bar is not None
        assert bar.desc.startswith("LinRFM")
        with event.trigger_event("numba:compile"), event.trigger_event("numba:compile"):
            assert "compiling kernels" in bar.desc
        assert "compiling" not in bar.desc
    with event.trigger_event("numba:compile"):  # nobody listens any more
        assert "compiling" not in bar.desc


def test_a_bar_that_is_off_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "tqdm", None)
    with progress(False, total=2, desc="LinRFM") as bar:
        assert bar is None
