"""MovieLens: each format from a folder, a zip and a local server, and what a broken one is answered with."""

import gzip
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from places import DATA

from rfm_recsys.datasets import MOVIELENS, Interactions, load_movielens, movielens
from rfm_recsys.errors import DataError, ParameterError

CONTENT = {
    "u.data": b"5\t20\t3\t100\n2\t10\t4\t300\n2\t20\t1\t200\n",
    "ratings.dat": b"5::20::3::100\n2::10::4::300\n2::20::1::200\n",
    "ratings.csv": b"userId,movieId,rating,timestamp\n5,20,3.0,100\n2,10,4.0,300\n2,20,1.0,200\n",
}


def archive(name: str) -> bytes:
    file = MOVIELENS[name][0]
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr(f"ml-{name}/README", "made by a test")
        target.writestr(f"ml-{name}/{file}", CONTENT[file])
    return packed.getvalue()


def assert_read(data: Interactions) -> None:
    assert data.user_ids.tolist() == [2, 5]
    assert data.item_ids.tolist() == [10, 20]
    np.testing.assert_array_equal(data.to_csr().toarray(), [[4, 1], [0, 3]])
    assert data.timestamps is not None
    np.testing.assert_array_equal(data.timestamps, np.array([300, 200, 100]) * 10**9)


@pytest.mark.parametrize("name", MOVIELENS)
def test_each_data_set_from_its_folder_and_its_zip(tmp_path: Path, name: str) -> None:
    file = MOVIELENS[name][0]
    (tmp_path / file).write_bytes(CONTENT[file])
    assert_read(load_movielens(name, tmp_path))
    packed = tmp_path / "own.zip"
    packed.write_bytes(archive(name))
    assert_read(load_movielens(name, packed))


@pytest.mark.parametrize("name", MOVIELENS)
def test_a_re_export_without_timestamps(tmp_path: Path, name: str) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating\n5,20,3\n2,10,4\n2,20,1\n")
    if MOVIELENS[name][0] == "ratings.dat":
        (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress((tmp_path / "ratings.csv").read_bytes()))
        (tmp_path / "ratings.csv").unlink()
    data = load_movielens(name, tmp_path)
    assert data.timestamps is None
    np.testing.assert_array_equal(data.to_csr().toarray(), [[4, 1], [0, 3]])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("100k", "1\t2\t3\t4\n1\t2\t3\n", r"u\.data, line 2: not user, movie, rating and timestamp; download it again"),
        ("100k", "1\t2\t3\t4\n1\t2\t3\t4\t5\n", r"u\.data cannot be read: .*line 2, saw 5; download it again"),
        ("100k", "", r"u\.data: the table has no rows"),
        ("1m", "1::2::3::4\n\n1::2::x::4\n", r"ratings\.dat, line 2: not user"),
        ("1m", "1::2::3::4\n1:2:3:4\n", r"ratings\.dat, line 2: not user"),
        ("1m", "1::2::3::4\n1::2::inf::4\n", r"ratings\.dat: line 2 has inf in column 'rating'"),
        (
            "25m",
            "userId,movieId,rating,timestamp\n1,2,3,4\n1,2,x,4\n",
            r"ratings\.csv, line 3 has 'x' in column 'rating'",
        ),
        ("25m", "", r"ratings\.csv is empty"),
        ("25m", "userId,movieId,rating,timestamp\n", r"ratings\.csv: the table has no rows"),
    ],
)
def test_a_broken_file_is_refused_with_file_line_and_remedy(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / MOVIELENS[name][0]).write_text(content)
    with pytest.raises(DataError, match=message):
        load_movielens(name, tmp_path)


def test_a_broken_line_in_a_zip_is_named(tmp_path: Path) -> None:
    packed = tmp_path / "ml.zip"
    with zipfile.ZipFile(packed, "w") as target:
        target.writestr("ml-25m/ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,4\n1,2,x,4\n")
    with pytest.raises(DataError, match=r"ml\.zip:ml-25m/ratings\.csv, line 3: not user"):
        load_movielens("25m", packed)


def test_wrong_names_folders_and_zips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no MovieLens data set '5m'; pass one of 100k, "):
        load_movielens("5m")
    with pytest.raises(DataError, match=r"no ratings\.dat, ratings\.csv or ratings\.csv\.gz in .*; pass the unpacked"):
        load_movielens("1m", tmp_path)
    with pytest.raises(DataError, match="none is no MovieLens folder or zip"):
        load_movielens("1m", tmp_path / "none")
    packed = tmp_path / "own.zip"
    packed.write_bytes(archive("100k"))
    with pytest.raises(DataError, match=r"no ratings\.dat in .*own\.zip; pass the archive of MovieLens 1m"):
        load_movielens("1m", packed)
    whole = archive("1m")
    compressed = whole.index(b"ratings.dat") + len("ratings.dat")
    for broken in (whole[:-40], *(whole[:at] + b"\xff" + whole[at + 1 :] for at in range(compressed, compressed + 20))):
        packed.write_bytes(broken)
        with pytest.raises(DataError, match=r"own\.zip is no MovieLens folder or zip"):
            load_movielens("1m", packed)


class Server(ThreadingHTTPServer):
    """Serves ``files``; of ``truncated`` only the first half is sent."""

    files: dict[str, bytes]
    truncated: set[str]
    requests: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        self.server.requests.append(name)
        body = self.server.files.get(name)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write((body or b"")[: len(body or b"") // (2 if name in self.server.truncated else 1)])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Stand in for GroupLens: 1m with a published sum, latest-small with a sum beside it; the cache is ``tmp_path``."""
    one, small = archive("1m"), archive("latest-small")
    with Server(("127.0.0.1", 0), Handler) as local:
        local.files = {
            "ml-1m.zip": one,
            "ml-latest-small.zip": small,
            "ml-latest-small.zip.md5": f"MD5 (ml-latest-small.zip) = {hashlib.md5(small).hexdigest()}\n".encode(),
        }
        local.truncated, local.requests = set(), []
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv(movielens.CACHE_VARIABLE, str(tmp_path / "cache"))
        monkeypatch.setattr(movielens, "BASE_URL", f"http://127.0.0.1:{local.server_port}/")
        monkeypatch.setitem(MOVIELENS, "1m", ("ratings.dat", hashlib.md5(one).hexdigest()))
        thread = threading.Thread(target=local.serve_forever, args=(0.01,))
        thread.start()
        yield local
        local.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["1m", "latest-small"])
def test_an_archive_is_downloaded_once(server: Server, tmp_path: Path, name: str) -> None:
    assert_read(load_movielens(name, progress=False))
    assert (tmp_path / "cache" / f"ml-{name}.zip").read_bytes() == server.files[f"ml-{name}.zip"]
    asked = list(server.requests)
    server.files.clear()
    assert_read(load_movielens(name, progress=False))
    assert server.requests == asked


def test_progress_is_shown_only_when_asked_for(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    load_movielens("1m", progress=False)
    assert "%" not in "".join(capfd.readouterr())
    load_movielens("latest-small", progress=True)
    assert "%" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["1m", "latest-small"])
@pytest.mark.parametrize("fault", ["altered", "truncated", "missing"])
def test_a_bad_download_is_refused_and_leaves_nothing(server: Server, tmp_path: Path, name: str, fault: str) -> None:
    file = f"ml-{name}.zip"
    whole = server.files[file]
    if fault == "altered":
        server.files[file] = whole[:-1] + b"?"
    elif fault == "truncated":
        server.truncated.add(file)
    else:
        del server.files[file]
    with pytest.raises(DataError, match=rf"{file} cannot be had: .*; check the network, or .*pass folder="):
        load_movielens(name, progress=False)
    assert list((tmp_path / "cache").iterdir()) == []

    server.files[file] = whole
    server.truncated.clear()
    assert_read(load_movielens(name, progress=False))


@pytest.mark.parametrize("published", [b"<html>sign in</html>", b"0" * 32, None])
def test_a_wrong_published_sum_is_asked_for_again(server: Server, published: bytes | None) -> None:
    right = server.files.pop("ml-latest-small.zip.md5")
    if published is not None:
        server.files["ml-latest-small.zip.md5"] = published
    with pytest.raises(DataError, match=r"ml-latest-small\.zip cannot be had: .*(MD5|404)"):
        load_movielens("latest-small", progress=False)
    server.files["ml-latest-small.zip.md5"] = right
    assert_read(load_movielens("latest-small", progress=False))


def test_a_corrupt_archive_in_the_cache_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ml-1m.zip").write_bytes(b"half a download")
    assert_read(load_movielens("1m", progress=False))


def test_no_network(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movielens, "BASE_URL", "http://127.0.0.1:9/")  # the discard port: nobody listens
    with pytest.raises(DataError, match=r"cannot be had: .*check the network"):
        load_movielens("1m", progress=False)


@pytest.mark.parametrize(
    ("name", "shape", "ratings"),
    [
        ("100k", (943, 1682), 100_000),
        ("latest-small", (671, 9066), 100_004),  # the edition of 2016
        ("1m", (6040, 3706), 1_000_203),  # a re-export that lacks six ratings
    ],
)
def test_real_data(name: str, shape: tuple[int, int], ratings: int) -> None:
    folder = DATA / f"ml-{name}"
    if not folder.is_dir():
        pytest.skip(f"needs MovieLens in ../shared/data/ml-{name}")
    data = load_movielens(name, folder)
    assert data.shape == shape
    assert len(data.values) == data.to_csr().nnz == ratings
    assert set(np.unique(data.values)) <= set(np.arange(0.5, 5.5, 0.5))
