"""The command line of a broker's Java virtual machine."""

from __future__ import annotations

from pathlib import Path

from dataflow.broker.java import JavaRuntime

_AOT_CACHE_SINCE = 25
"""One-step creation of an ahead-of-time cache (JEP 514) came with Java 25."""


def archive_name(java: JavaRuntime) -> str:
    """Return the file name of the class archive for `java`: archives do not carry over."""
    suffix = "aot" if java.major >= _AOT_CACHE_SINCE else "jsa"
    return f"classes-{java.origin}-{java.version.replace('/', '_')}.{suffix}"


def jvm_options(
    java: JavaRuntime,
    *,
    heap: str,
    archive: Path | None = None,
    record_archive: Path | None = None,
) -> list[str]:
    """Return the options of the Java virtual machine.

    Args:
        java: the runtime, whose release decides which options exist.
        heap: largest heap, as Java writes it.
        archive: class archive to load the classes from; one that does not fit is ignored by Java.
        record_archive: class archive to write at exit.
    """
    options = [
        f"-Xmx{heap}",
        # One thread collects a heap this small in milliseconds, and frames of megabytes are
        # not "humongous" to it as they are to G1.
        "-XX:+UseSerialGC",
        # The optimising compiler costs more than it earns here: 1.2 s of processor time at a
        # start, while records of 100 KB or 200 bytes take no less processor time with it.
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        # Each network thread keeps a direct buffer as large as the largest record it has written.
        "-Djdk.nio.maxCachedBufferSize=262144",
        "-Djava.awt.headless=true",
        # Only errors: a class archive that does not fit is not one.
        "-Xlog:disable",
        "-Xlog:all=error:stderr",
        "-Xshare:auto",
    ]
    if java.major >= 22:  # JEP 454: libraries that load native code are named, or warned about
        options.append("--enable-native-access=ALL-UNNAMED")
    if java.major >= 23:  # JEP 471: Kafka unmaps files by sun.misc.Unsafe
        options.append("--sun-misc-unsafe-memory-access=allow")
    ahead_of_time = java.major >= _AOT_CACHE_SINCE
    if record_archive is not None:
        flag = "AOTCacheOutput" if ahead_of_time else "ArchiveClassesAtExit"
        options.append(f"-XX:{flag}={record_archive}")
    elif archive is not None:
        options.append(f"-XX:{'AOTCache' if ahead_of_time else 'SharedArchiveFile'}={archive}")
    return options
