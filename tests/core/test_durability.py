"""What a kill, an interruption or a broken file can do: nothing to the old file, the model, or the next fit.

RFM_FUZZ multiplies the kills: 10 in the ordinary suite, 25 times RFM_FUZZ elsewhere.
"""

import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import ROOT, TESTS
from scipy.sparse import csr_matrix, random_array

from rfm_recsys import LinRFM
from rfm_recsys.core import modelfile
from rfm_recsys.errors import ModelFileError, ParameterError, ParameterTypeError, ParameterWarning
from rfm_recsys.recommender.model import content_of

SCALE = int(os.environ.get("RFM_FUZZ", "1"))
KILLS = 10 if SCALE == 1 else 25 * SCALE
DAMAGES = 200
QUICK = 2.0  # seconds in which a file is refused

FORMS = pytest.mark.parametrize("factors", [8, None], ids=["low-rank", "full"])


def interactions(users: int = 80, items: int = 40, seed: int = 0) -> csr_matrix:
    return csr_matrix(random_array((users, items), density=0.2, rng=np.random.default_rng(seed), format="csr"))


def fitted(data: csr_matrix, factors: int | None = 8, **parameters: Any) -> LinRFM:
    return LinRFM(factors, **parameters).fit(data, show_progress=False)


def bits(model: LinRFM) -> list[bytes]:
    users = model.user_factors
    parts = [users.data, users.indices, users.indptr] if isinstance(users, csr_matrix) else [users]
    return [part.tobytes() for part in (model.item_factors, *parts)]


# --- kills ---

# One process imports and compiles; a fork of it does the work of each kill.
VICTIMS = """
import os, signal, sys, time
from rfm_recsys import LinRFM
from test_durability import FITS, large_models, small_data

models, data = large_models(), small_data()
for factors in FITS:
    LinRFM(factors).fit(data, show_progress=False)
print("ready", flush=True)
for line in sys.stdin:
    work, path, seconds = line.split()
    begun = time.perf_counter()
    child = os.fork()
    if child == 0:
        if work == "save":
            models[1].save(path)
        else:
            LinRFM(FITS[int(work)], iterations=ITERATIONS).fit(data, show_progress=False, checkpoint=path)
        os._exit(0)
    if float(seconds) > 0:
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)  # still there, if only as a zombie
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), time.perf_counter() - begun, flush=True)
"""
FITS = [32, None]
ITERATIONS = 5


def small_data() -> csr_matrix:
    return interactions(300, 150)


def large_models() -> list[LinRFM]:
    """Two models of some megabytes, the one saved before and the one that is being saved."""
    models = []
    for seed in (0, 1):
        model, rng = LinRFM(64, random_state=seed), np.random.default_rng(seed)
        model.user_factors, model.item_factors = (rng.normal(size=(n, 64)).astype(np.float32) for n in (9_000, 1_000))
        models.append(model)
    return models


class Victims:
    def __init__(self) -> None:
        folders = [str(Path(__file__).parent), str(TESTS), str(ROOT)]
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", f"ITERATIONS = {ITERATIONS}\n{VICTIMS}"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._said() == "ready"

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, work: str, path: Path, seconds: float = 0) -> tuple[int, float]:
        """Let a process work, and kill it after some seconds, if any; return its exit code and its seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{work} {path} {seconds}\n")
        self.process.stdin.flush()
        code, taken = self._said().split()
        return int(code), float(taken)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    victims = Victims()
    yield victims
    victims.end()


def test_a_kill_during_save_leaves_the_old_model_or_the_new_one(victims: Victims, tmp_path: Path) -> None:
    path, kept, rng = tmp_path / "model", tmp_path / "kept", np.random.default_rng(1)
    old, new = (bits(model) for model in large_models())
    large_models()[0].save(kept)
    outcomes: Counter[str] = Counter()
    shutil.copy(kept, path)
    usual = min(victims.run("save", path)[1] for _ in range(3))
    assert bits(LinRFM.load(path)) == new
    for _ in range(KILLS // 2):
        shutil.copy(kept, path)
        code, _ = victims.run("save", path, usual * rng.uniform(0.05, 1.2))
        assert code in (0, -signal.SIGKILL)
        found = bits(LinRFM.load(path))
        assert found in (old, new)
        assert found == new or code != 0
        partial = list(tmp_path.glob(".model.*.partial"))
        outcomes["new" if found == new else "old, half written" if partial else "old"] += 1
        for left in partial:
            left.unlink()
    print("kills during save:", dict(outcomes))
    assert SCALE == 1 or len(outcomes) == 3


def test_a_killed_fit_resumes_to_the_same_bits(victims: Victims, tmp_path: Path) -> None:
    path, rng, data = tmp_path / "checkpoint", np.random.default_rng(2), small_data()
    whole = [bits(fitted(data, factors, iterations=ITERATIONS)) for factors in FITS]
    usual = []
    for work in ("0", "1"):
        seconds = []
        for _ in range(2):
            seconds.append(victims.run(work, path)[1])
            path.unlink()
        usual.append(min(seconds))
    resumed: Counter[int] = Counter()
    for kill in range(KILLS - KILLS // 2):
        form = kill // 3 % 2
        code, _ = victims.run(str(form), path, usual[form] * rng.uniform(0.3, 1.1))
        assert code in (0, -signal.SIGKILL)
        if kill % 3 == 1:
            continue  # resumed by the next one, and killed again
        seen: list[int] = []
        model = LinRFM(FITS[form], iterations=ITERATIONS)
        model.fit(data, show_progress=False, checkpoint=path, callback=lambda i, *_: seen.append(i))  # noqa: B023
        assert bits(model) == whole[form]
        path.unlink()
        resumed[ITERATIONS - len(seen)] += 1
        for left in tmp_path.glob(".checkpoint.*.partial"):
            left.unlink()
    print("rounds that were done before the kill:", dict(sorted(resumed.items())))
    assert SCALE == 1 or len(resumed) >= ITERATIONS


# --- broken and foreign files ---


@FORMS
def test_every_damage_to_a_file_is_found(factors: int | None, tmp_path: Path) -> None:
    path, rng = tmp_path / "model", np.random.default_rng(3)
    fitted(interactions(), factors).save(path)
    whole = path.read_bytes()
    for place, flip in zip(rng.integers(0, len(whole), DAMAGES), rng.integers(1, 256, DAMAGES), strict=True):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        with pytest.raises(ModelFileError, match="save it again"):
            LinRFM.load(path)
    for length in rng.integers(0, len(whole), DAMAGES):
        with pytest.raises(ModelFileError, match="save it again"):
            LinRFM.load(io.BytesIO(whole[:length]))
    for more in (b"\0", whole):
        path.write_bytes(whole + more)
        with pytest.raises(ModelFileError, match="save it again"):
            LinRFM.load(path)


@FORMS
def test_every_damage_to_a_checkpoint_is_found(factors: int | None, tmp_path: Path) -> None:
    path, rng, data = tmp_path / "checkpoint", np.random.default_rng(4), interactions()
    stop_after(0, LinRFM(factors, iterations=3), data, path)
    whole = path.read_bytes()
    for place in rng.integers(0, len(whole), 20):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ModelFileError):
            LinRFM(factors, iterations=3).fit(data, show_progress=False, checkpoint=path)


def sealed(path: Path) -> None:
    """Give a file the checksum that makes it look whole."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = modelfile.SEAL + b"0" * modelfile.DIGEST
    with path.open("r+b") as file:
        size = file.seek(-modelfile.DIGEST, os.SEEK_END)
        digest = modelfile._digest(file, size)
        file.seek(size)
        file.write(digest)


def header(**change: Any) -> Any:
    parameters = content_of(LinRFM(8))[0]
    content = {"format": "rfm_recsys model", "version": modelfile.VERSION, "parameters": parameters}
    return np.array(json.dumps({**content, **change}))


def arrays(**change: Any) -> dict[str, Any]:
    return {"header": header(), "user_factors": np.ones((3, 2)), "item_factors": np.ones((4, 2)), **change}


def csr(**change: Any) -> dict[str, Any]:
    parts = {"user_data": np.ones(3), "user_indices": np.zeros(3, np.int32), "user_indptr": np.arange(4)}
    return {"header": header(), "item_factors": np.ones((4, 4)), **parts, **change}


def _huge(path: Path, shape: tuple[int, ...]) -> None:
    """Write an array's header without the array."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays().items():
            with archive.open(f"{name}.npy", "w") as file:
                if name == "item_factors":
                    np.lib.format.write_array_header_1_0(
                        file,
                        {"descr": "<f8", "fortran_order": False, "shape": shape},
                    )
                else:
                    np.lib.format.write_array(file, array)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "text")


def _npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(100))


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("user,item,value\n" * 100),
    "pickle": lambda path: path.write_bytes(pickle.dumps(LinRFM(8))),
    "npy": _npy,
    "zip": _zip,
    "a plain npz": lambda path: np.savez(path, array=np.arange(3)),
    "an npz of other things": lambda path: np.savez(path, **arrays(header=np.array("no JSON"))),
    "objects": lambda path: np.savez(path, **arrays(user_factors=np.array([[1, None]]))),
    "a newer version": lambda path: np.savez(path, **arrays(header=header(version=modelfile.VERSION + 1))),
    "a version that is none": lambda path: np.savez(path, **arrays(header=header(version=None))),
    "compressed": lambda path: np.savez_compressed(path, **arrays(item_factors=np.zeros((4_000_000, 2)))),
    "a header that is deep": lambda path: np.savez(path, **arrays(header=np.array("[" * 100_000))),
    "a petabyte": lambda path: _huge(path, (10**14, 2)),
    "some gigabytes": lambda path: _huge(path, (10**8, 2)),
    "more than there are numbers": lambda path: _huge(path, (2**62, 2**62)),
    "a negative size": lambda path: _huge(path, (-1, 2)),
    "no parameters": lambda path: np.savez(path, **arrays(header=header(parameters={}))),
    "parameters that are a list": lambda path: np.savez(path, **arrays(header=header(parameters=[1, 2]))),
    "no item factors": lambda path: np.savez(path, header=header(), user_factors=np.ones((3, 2))),
    "factors of one dimension": lambda path: np.savez(path, **arrays(item_factors=np.ones(3))),
    "factors of text": lambda path: np.savez(path, **arrays(item_factors=np.array([["x"]]))),
    "factors without columns": lambda path: np.savez(
        path, **arrays(user_factors=np.ones((3, 0)), item_factors=np.ones((4, 0)))
    ),
    "items beyond the catalogue": lambda path: np.savez(path, **csr(user_indices=np.full(3, 2**24))),
    "an indptr that falls": lambda path: np.savez(path, **csr(user_indptr=np.array([0, 3, 1, 0]))),
    "an unsigned indptr that falls": lambda path: np.savez(path, **csr(user_indptr=np.array([0, 3, 1, 2], np.uint64))),
    "an indptr of two dimensions": lambda path: np.savez(path, **csr(user_indptr=np.zeros((4, 1), int))),
    "item factors that are not square": lambda path: np.savez(path, **csr(item_factors=np.ones((3, 4)))),
}


NO_ARCHIVE = ("empty", "text", "pickle", "npy")  # an archive alone can have a checksum


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_quickly(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    FOREIGN[kind](path)
    for sealing in (False, True) if kind not in NO_ARCHIVE else (False,):
        if sealing:
            sealed(path)
        content = path.read_bytes()
        for read in (LinRFM.load, resumed):
            begun = time.perf_counter()
            with pytest.raises(ModelFileError) as caught:
                read(path)
            assert time.perf_counter() - begun < QUICK
            assert str(path) in str(caught.value)
        assert path.read_bytes() == content


def resumed(path: Path) -> LinRFM:
    return LinRFM(8).fit(interactions(), show_progress=False, checkpoint=path)


def test_the_file_that_the_foreign_ones_are_changes_of_is_right(tmp_path: Path) -> None:
    for content in (arrays(), csr()):
        np.savez(tmp_path / "model.npz", **content)
        sealed(tmp_path / "model.npz")
        assert LinRFM.load(tmp_path / "model.npz").recommend(1, None, 2, False)[0].tolist() == [0, 1]


# --- interruptions ---


def stop_after(last: int, model: LinRFM, data: csr_matrix, path: Path | None = None) -> None:
    def stop(iteration: int, elapsed: float, loss: float | None) -> None:
        if iteration == last:
            raise LookupError("stop")

    with pytest.raises(LookupError, match="stop"):
        model.fit(data, show_progress=False, callback=stop, checkpoint=path)


@FORMS
def test_a_callback_that_raises_leaves_the_model_as_it_was(factors: int | None) -> None:
    model, data = LinRFM(factors, iterations=2), interactions(50, 30, seed=2)
    stop_after(1, model, data)
    assert model.user_factors is None
    assert model.item_factors is None
    model.fit(interactions(), show_progress=False)
    before = bits(model)
    for last in (0, 1):
        stop_after(last, model, data)
        assert bits(model) == before
    assert bits(model.fit(data, show_progress=False)) == bits(fitted(data, factors, iterations=2))


@FORMS
def test_ctrl_c_leaves_the_model_as_it_was(factors: int | None, tmp_path: Path) -> None:
    data, rng = interactions(400, 200, seed=2), np.random.default_rng(5)
    model = fitted(interactions(), factors, iterations=4)
    old, new = bits(model), bits(fitted(data, factors, iterations=4))
    begun = time.perf_counter()
    fitted(data, factors, iterations=4)
    usual, outcomes = time.perf_counter() - begun, Counter[str]()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for attempt in range(12):
            kept, stopped = (tmp_path / "checkpoint") if attempt % 2 else None, False
            interrupt = threading.Timer(
                usual * rng.uniform(0, 1), signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
            )
            try:
                interrupt.start()
                model.fit(data, show_progress=False, checkpoint=kept)
                interrupt.join()
                time.sleep(10)  # until the signal comes
            except KeyboardInterrupt:
                stopped = True
            assert stopped
            found = bits(model)
            assert found in (old, new)
            outcomes["old" if found == old else "new"] += 1
            fitted_after = threading.Thread(target=fitted, args=(interactions(), factors), daemon=True)
            fitted_after.start()
            fitted_after.join(60)
            assert not fitted_after.is_alive()  # no lock is left closed
            model = fitted(interactions(), factors, iterations=4)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert outcomes["old"] > 0
    if (tmp_path / "checkpoint").exists():
        assert bits(model.fit(data, show_progress=False, checkpoint=tmp_path / "checkpoint")) == new


# --- checkpoints ---


@FORMS
def test_the_checkpoint_of_another_fit_is_left_with_a_warning(factors: int | None, tmp_path: Path) -> None:
    data, path = interactions(), tmp_path / "checkpoint"
    other = data.copy()
    other.data[0] *= 2
    changes: list[tuple[csr_matrix, dict[str, Any]]] = [
        (other, {}),
        (data[:79], {}),
        (data, {"alpha": 2.0}),
        (data, {"random_state": 1}),
        (data, {"dtype": np.float64}),
        (data, {"factors": 9}),
    ]
    for changed, parameters in changes:
        stop_after(1, LinRFM(factors, iterations=3), data, path)
        seen: list[int] = []
        model = LinRFM(**{"factors": factors, "iterations": 3, **parameters})
        with pytest.warns(ParameterWarning, match="checkpoint of a fit to other interactions or with other parameters"):
            model.fit(changed, show_progress=False, checkpoint=path, callback=lambda i, *_: seen.append(i))  # noqa: B023
        assert seen == [0, 1, 2]
        assert bits(model) == bits(LinRFM(**model.get_params()).fit(changed, show_progress=False))
        assert os.listdir(tmp_path) == [path.name]
        path.unlink()


@FORMS
@pytest.mark.parametrize("iterations", [1, 2, 3, 6])
def test_a_fit_resumes_with_another_number_of_iterations(factors: int | None, iterations: int, tmp_path: Path) -> None:
    """With as many as are done, or more; with fewer it begins again, since the earlier rounds are not kept."""
    data, path, seen = interactions(), tmp_path / "checkpoint", []
    stop_after(1, LinRFM(factors, iterations=4), data, path)  # with two rounds done
    model = LinRFM(factors, iterations=iterations)

    def resume() -> None:
        model.fit(data, show_progress=False, checkpoint=path, callback=lambda i, *_: seen.append(i))

    if iterations < 2:
        with pytest.warns(ParameterWarning, match="of more rounds"):
            resume()
    else:
        resume()
    assert seen == (list(range(2, iterations)) if iterations >= 2 else [0])
    assert bits(model) == bits(fitted(data, factors, iterations=iterations))
    seen.clear()
    resume()  # as where the model could not be saved: nothing is done again
    assert seen == []
    assert bits(model) == bits(fitted(data, factors, iterations=iterations))


@pytest.mark.parametrize("fingerprint", [True, False])
@pytest.mark.parametrize(
    "change",
    [{"F": np.zeros((40, 8))}, {"F": np.zeros((39, 8), np.float32)}, {"U": None}, {"more": np.ones(3)}],
    ids=str,
)
def test_a_checkpoint_with_other_parts_is_refused(change: dict[str, Any], fingerprint: bool, tmp_path: Path) -> None:
    data, path = interactions(), tmp_path / "checkpoint"
    stop_after(0, LinRFM(8, iterations=3), data, path)
    content, parts = modelfile.load(path, "checkpoint")
    parts = {name: part for name, part in {**parts, **change}.items() if part is not None}
    modelfile.save(path, "checkpoint", content if fingerprint else {}, parts)
    if fingerprint:
        with pytest.raises(ModelFileError, match="does not hold the parts of a round"):
            LinRFM(8, iterations=3).fit(data, show_progress=False, checkpoint=path)
    else:
        with pytest.warns(ParameterWarning):
            LinRFM(8, iterations=3).fit(data, show_progress=False, checkpoint=path)


def test_a_file_in_a_folder_that_may_not_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # whoever runs this may write everywhere
    with pytest.raises(PermissionError, match="this folder may not be written to"):
        LinRFM(8).save(tmp_path / "model")


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_fit(tmp_path: Path) -> None:
    model, rounds = LinRFM(8), []
    wrong: list[tuple[Any, type[Exception]]] = [
        (tmp_path, IsADirectoryError),
        (tmp_path / "none" / "checkpoint", FileNotFoundError),
        ("", ParameterError),
        ("\0", ParameterError),
        (3, ParameterTypeError),
        (b"checkpoint", ParameterTypeError),
    ]
    for checkpoint, error in wrong:
        with pytest.raises(error):
            model.fit(
                interactions(), show_progress=False, callback=lambda i, *_: rounds.append(i), checkpoint=checkpoint
            )
    assert rounds == []
    assert model.item_factors is None
    assert os.listdir(tmp_path) == []
