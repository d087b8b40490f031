"""What other systems lack is simulated: no fork, no folder that can be opened, no /proc and no control group."""

import os
import subprocess
import sys
from pathlib import Path

WORK = """
import os
del os.register_at_fork, os.fork  # as on Windows
open_ = os.open
del os.O_DIRECTORY

def open_no_folder(path, *arguments, **named):
    if os.path.isdir(path):
        raise PermissionError(13, "a folder", path)
    return open_(path, *arguments, **named)

os.open = open_no_folder
import numpy as np
from scipy.sparse import csr_matrix
from rfm_recsys import LinRFM, complete
from rfm_recsys.core import memory

memory.CONTROL_GROUP = "/no such folder"
assert 0 < memory.available_memory() < 2**60
data = csr_matrix(np.random.default_rng(0).random((40, 30)) < 0.3, dtype=float)
model = LinRFM(4).fit(data, show_progress=False)
model.save("model.npz")
ids, _ = LinRFM.load("model.npz").recommend(np.arange(40), data)
print(ids.shape, os.listdir("."))
"""


def test_without_fork_and_folders_that_open_it_fits_and_saves(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", WORK], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "(40, 10) ['model.npz']\n"
