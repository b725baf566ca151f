"""Fetch data sets that lie elsewhere, at any URL that fsspec can read: s3://, gs://, https:// and others.

They are copied whole, because files are read more than once. The copy lives as long as the process.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from fsspec.core import url_to_fs

from pipeline.bounded import fault_of
from pipeline.errors import DatasetError

REMEDY = "name a file or folder of this machine, or a URL such as s3://bucket/folder"


def local(source: str) -> Path:
    """Return the path of a data set; what a URL names is copied, once.

    A message holds scheme and name alone, because a URL may hold a password.

    Raises:
        DatasetError: the scheme is unknown or needs a package, or there is nothing, or no answer.
    """
    return _fetched(source) if "://" in source else Path(source)


@cache
def _fetched(url: str) -> Path:
    scheme, _, rest = url.partition("://")
    name = PurePosixPath(rest.partition("?")[0]).name or "data"
    target = Path(_folder().name) / str(len(list(Path(_folder().name).iterdir()))) / name
    target.parent.mkdir()
    try:
        files, path = url_to_fs(url)
        if files.info(path)["type"] == "directory":
            files.get(f"{path.rstrip('/')}/", f"{target}/", recursive=True)
        else:
            files.get_file(path, str(target))
    except ImportError as error:
        needed = f"{scheme}:// needs a package that is not installed: {fault_of(error)}"
        raise DatasetError(f"{needed}, with pip") from None
    except FileNotFoundError:
        raise DatasetError(f"{scheme}://…/{name}: found neither a file nor a folder") from None
    except Exception as error:  # each driver has errors of its own library
        raise DatasetError(f"{scheme}://…/{name} cannot be read: {fault_of(error)}; {REMEDY}") from error
    return target


@cache
def _folder() -> TemporaryDirectory[str]:
    """The folder of all copies; it is removed when the process ends."""
    return TemporaryDirectory(prefix="millstream-")
