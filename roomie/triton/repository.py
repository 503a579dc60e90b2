"""Model repositories: the operator's, and the one that is generated from it.

The operator's has Triton's ordinary layout, ``MODEL/config.pbtxt`` and ``MODEL/VERSION/``. Of it a
worker makes a repository of its own in which each instance is a model::

    INSTANCE/config.pbtxt   made from the operator's and from the placement
    INSTANCE/VERSION        link to, or copy of, the operator's
    INSTANCE/...            whatever else lies beside the versions, such as labels

Others may keep models in that folder too: what has no configuration with our marker is never
touched. So the configuration is what is written first, at one stroke, and what goes last.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from dataflow.errors import ConfigError
from roomie.errors import ModelLoadError
from roomie.triton.model_config import (
    TUNING,
    ModelSettings,
    Tuning,
    instance_config,
    read_config,
)

CONFIG = "config.pbtxt"
_MARKER = f'key: "{TUNING}"'
"""As a configuration spells the parameter by which an instance's folder is known."""


def check_apart(sources: Path, folder: Path) -> None:
    """See that the generated repository and the operator's are different folders.

    Raises:
        ConfigError: one is the other, or lies in it.
    """
    one, other = sources.resolve(), folder.resolve()
    if one == other:
        relation = "is the folder of --models"
    elif one in other.parents:
        relation = f"lies in the folder of --models, {sources}"
    elif other in one.parents:
        relation = f"contains the folder of --models, {sources}"
    else:
        return
    raise ConfigError(
        f"the folder where instances are written {relation}",
        key="--repository",
        value=str(folder),
        remedy="give each a folder of its own: instances are written to and deleted from "
        "--repository, and made of what lies in --models",
    )


class InstanceRepository:
    """The generated repository of one server.

    Args:
        sources: the operator's repository.
        folder: the generated one; of what else lies there nothing is changed.
        copy: copy versions instead of linking to them, for a server that sees only ``folder``.

    Raises:
        ConfigError: one of the folders is, or lies in, the other.
    """

    def __init__(self, sources: Path, folder: Path, *, copy: bool = False) -> None:
        check_apart(sources, folder)
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
            self._claim(target, settings)
            self._fill(source, target, tuning.version)
        except OSError as error:
            raise ModelLoadError(
                f"the folder {target} cannot be written ({error})\n"
                "  remedy: make the worker's repository writable and leave it space"
            ) from error
        return settings

    def remove(self, instance: str) -> None:
        """Delete an instance's folder; one that is not there, or is not ours, is left alone.

        Raises:
            ModelLoadError: it cannot be deleted; it may be tried again.
        """
        folder = self.folder / instance
        if not self.has(instance):
            return
        try:
            for entry in folder.iterdir():
                if entry.name != CONFIG:
                    _remove(entry)
            # Last: what a killed agent leaves of it is still known as ours.
            (folder / CONFIG).unlink()
            folder.rmdir()
        except OSError as error:
            raise ModelLoadError(
                f"the folder {folder} cannot be deleted ({error})\n"
                "  remedy: make it and what lies in it the worker's own, and writable"
            ) from error

    def has(self, instance: str) -> bool:
        """Whether an instance has a folder which was written here."""
        return _is_ours(self.folder / instance)

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

    def _claim(self, target: Path, settings: ModelSettings) -> None:
        """Write the configuration, completely or not at all.

        Raises:
            ModelLoadError: the folder is somebody else's.
        """
        if not _is_ours(target) and target.exists() and any(target.iterdir()):
            raise ModelLoadError(
                f"the folder {target} was not written by a node agent\n"
                "  remedy: move it elsewhere; instances have their folders there"
            )
        target.mkdir(parents=True, exist_ok=True)
        # Beside the folder, since Triton reads what lies in it.
        partial = target.with_name(f".{target.name}.partial")
        partial.write_text(settings.text, encoding="utf-8")
        partial.replace(target / CONFIG)

    def _fill(self, source: Path, target: Path, version: int) -> None:
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
                continue
            if at.is_symlink():
                at.unlink()  # of a time without --copy: it leads to the operator's own
            if entry.is_dir():
                # A loaded model may be reading its files: add and replace, never empty.
                shutil.copytree(entry, at, dirs_exist_ok=True)
            else:
                shutil.copy2(entry, at)


def _is_ours(folder: Path) -> bool:
    try:
        return _MARKER in (folder / CONFIG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


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
