"""Storage of uploaded tables and results, behind one fsspec URL: a folder or a bucket."""

import errno
import io
import os
from contextlib import suppress
from typing import Any

import fsspec

from worker.errors import StorageFullError

FULL = (errno.ENOSPC, errno.EDQUOT)


class Storage:
    """Stores bytes under keys that we choose. A client's text is never part of a key.

    Bytes are written before the row with their key is committed, so nobody sees half of an object.
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
        files, path = self._place(key)
        content: bytes = files.cat_file(path)
        return content

    def delete(self, key: str) -> None:
        """Delete the object if it exists."""
        files, path = self._place(key)
        if files.exists(path):
            files.rm_file(path)

    def list_keys(self) -> list[str]:
        """Return the keys of all objects."""
        files, root = fsspec.core.url_to_fs(self._url)
        if not files.exists(root):
            return []
        return [path.rsplit("/", 1)[-1] for path in files.ls(root, detail=False)]

    def _place(self, key: str) -> tuple[Any, str]:
        # fsspec caches file systems by their arguments: this does not connect each time
        files, root = fsspec.core.url_to_fs(self._url)
        return files, f"{root.rstrip('/')}/{key}"
