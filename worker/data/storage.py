"""The storage of uploaded tables and of prediction results: a folder or a bucket, given by one fsspec URL."""

import errno
import io
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import fsspec

from worker.errors import MissingBytesError, StorageFullError

FULL = (errno.ENOSPC, errno.EDQUOT)


class Storage:
    """Stores objects under keys that we choose; a key never contains a client's text.

    An object has a row of its own before it is written, and the row that names it comes after: see `records.objects`.
    So a half-written object is never visible, and one that nobody finished can be told from one of another database.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, key: str, content: bytes) -> None:
        """Store the bytes; they are durable when this returns. Raises StorageFullError."""
        files, path = self._place(key)
        try:
            files.makedirs(path.removesuffix(f"/{key}"), exist_ok=True)
            with files.open(path, "wb") as file:
                file.write(content)
                file.flush()
                # a bucket's file has no descriptor; it is durable once it is closed
                with suppress(io.UnsupportedOperation, AttributeError):
                    os.fsync(file.fileno())
        except OSError as error:
            self.delete(key)
            if error.errno in FULL:
                raise StorageFullError("there is no room left for uploads") from error
            raise

    def read(self, key: str) -> bytes:
        """Return the object's bytes. Raises MissingBytesError if the object does not exist in this storage."""
        files, path = self._place(key)
        try:
            content: bytes = files.cat_file(path)
        except FileNotFoundError as error:
            raise MissingBytesError(key) from error
        return content

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> bytes:
        """Return the bytes of these ranges, one after the other. Raises MissingBytesError.

        ranges: where each begins, and where it ends.
        """
        files, path = self._place(key)
        starts, ends = map(list, zip(*ranges, strict=True))
        try:
            # a bucket reads them at the same time
            parts: list[bytes] = files.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")
        except FileNotFoundError as error:
            raise MissingBytesError(key) from error
        return b"".join(parts)

    def has(self, key: str) -> bool:
        """Return whether an object with this key exists in this storage."""
        files, path = self._place(key)
        return bool(files.exists(path))

    def delete(self, key: str) -> None:
        """Delete the object if it exists."""
        files, path = self._place(key)
        # another may delete it at the same time
        with suppress(FileNotFoundError):
            if files.exists(path):
                files.rm_file(path)

    def list_keys(self) -> list[str]:
        """Return the keys of all objects."""
        files, root = fsspec.core.url_to_fs(self._url)
        if not files.exists(root):
            return []
        return [path.rsplit("/", 1)[-1] for path in files.ls(root, detail=False)]

    def open(self, key: str, mode: str = "rb") -> Any:
        """Open an object as a binary stream, to be read or written a part at a time. Raises FileNotFoundError."""
        files, path = self._place(key)
        if "w" in mode:
            files.makedirs(path.removesuffix(f"/{key}"), exist_ok=True)
        return files.open(path, mode)

    def rename(self, key: str, new_key: str) -> None:
        """Give a whole object the key by which rows name it."""
        files, path = self._place(key)
        files.mv(path, path.removesuffix(key) + new_key)

    def _place(self, key: str) -> tuple[Any, str]:
        # fsspec caches file systems by their arguments: this does not connect each time
        files, root = fsspec.core.url_to_fs(self._url)
        return files, f"{root.rstrip('/')}/{key}"
