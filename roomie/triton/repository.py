"""Model repositories: the operator's, and the one that is generated from it.

The operator's has Triton's ordinary layout, ``MODEL/config.pbtxt`` and ``MODEL/VERSION/``. Of it a
worker makes a repository of its own in which each instance is a model::

    INSTANCE/config.pbtxt   made from the operator's and from the placement
    INSTANCE/VERSION        link to, or copy of, the operator's
    INSTANCE/...            whatever else lies beside the versions, such as labels
"""

from __future__ import annotations

import shutil
from pathlib import Path

from roomie.errors import ModelLoadError
from roomie.triton.model_config import ModelSettings, Tuning, instance_config, read_config

CONFIG = "config.pbtxt"


class InstanceRepository:
    """The generated repository of one server.

    Args:
        sources: the operator's repository.
        folder: the generated one; nobody else may write to it.
        copy: copy versions instead of linking to them, for a server that sees only ``folder``.
    """

    def __init__(self, sources: Path, folder: Path, *, copy: bool = False) -> None:
        self.sources = sources
        self.folder = folder
        self._copy = copy

    def models(self) -> dict[str, tuple[int, ...]]:
        """Models of the operator's repository, with the numbers of their versions."""
        if not self.sources.is_dir():
            return {}
        return {
            entry.name: versions
            for entry in sorted(self.sources.iterdir())
            if entry.is_dir() and (versions := _versions(entry))
        }

    def write(self, instance: str, model: str, tuning: Tuning) -> ModelSettings:
        """Make an instance's folder, anew if there is one.

        Args:
            instance: its name to the server.
            model: folder in the operator's repository.
            tuning: how it was placed.

        Returns:
            The configuration to load it with.

        Raises:
            ModelLoadError: the model or the version is not there, or does not take what was placed.
        """
        source = self._source(model, tuning.version)
        file = source / CONFIG
        settings = instance_config(read_config(file), instance, tuning, origin=str(file))
        target = self.folder / instance
        try:
            self._fill(source, target, tuning.version)
            (target / CONFIG).write_text(settings.text, encoding="utf-8")
        except OSError as error:
            raise ModelLoadError(
                f"the folder {target} cannot be written ({error})\n"
                "  remedy: make the worker's repository writable and leave it space"
            ) from error
        return settings

    def remove(self, instance: str) -> None:
        """Delete an instance's folder; one that is not there is fine."""
        shutil.rmtree(self.folder / instance, ignore_errors=True)

    def instances(self) -> tuple[str, ...]:
        """Instances that have a folder."""
        if not self.folder.is_dir():
            return ()
        return tuple(sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir()))

    def _source(self, model: str, version: int) -> Path:
        source = self.sources / model
        known = self.models()
        if model not in known:
            raise ModelLoadError(
                f"there is no model {model!r} in the repository {self.sources}\n"
                f"  remedy: put it there as {model}/VERSION/; it has: {', '.join(known) or 'none'}"
            )
        if version not in known[model]:
            have = ", ".join(map(str, known[model]))
            raise ModelLoadError(
                f"{source}: there is no version {version}\n"
                f"  remedy: put it into the folder {version}, or deploy one of: {have}"
            )
        return source

    def _fill(self, source: Path, target: Path, version: int) -> None:
        target.mkdir(parents=True, exist_ok=True)
        for entry in source.iterdir():
            other_version = entry.name.isdigit() and entry.name != str(version)
            if entry.name == CONFIG or other_version:
                continue
            at = target / entry.name
            if not self._copy:
                if at.is_symlink() and at.readlink() == entry.resolve():
                    continue
                _remove(at)
                at.symlink_to(entry.resolve())
            elif entry.is_dir():
                # A loaded model may be reading its files: add and replace, never empty.
                shutil.copytree(entry, at, dirs_exist_ok=True)
            else:
                shutil.copy2(entry, at)


def _remove(at: Path) -> None:
    if at.is_symlink() or at.is_file():
        at.unlink()
    elif at.is_dir():
        shutil.rmtree(at)


def _versions(folder: Path) -> tuple[int, ...]:
    return tuple(
        sorted(
            int(entry.name)
            for entry in folder.iterdir()
            if entry.is_dir() and entry.name.isdigit() and not entry.name.startswith("0")
        )
    )
