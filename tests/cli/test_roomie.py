"""`videojam roomie`: what it prints, writes and answers with."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from roomie.devices import load_devices
from roomie.profile_files import write_profiles
from tests.cli.conftest import Videojam
from tests.roomie.kit import kernel, profile
from tests.roomie.test_importers import trace

CLUSTER = "version: 1\nnodes:\n  n:\n    gpus: [{device: A100-SXM4-40GB, count: 2}]\n"
WORKLOAD = """\
version: 1
requests:
  wide: {model: wide, instances: 2, batch: 1}
  narrow: {model: narrow, batch: 1}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    """A cluster, a workload, and profiles of a model that fills the GPU and one that does not."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "workload.yaml").write_text(WORKLOAD)
    write_profiles(tmp_path / "profiles/wide.jsonl", [profile("wide", 1, [kernel(us=100)])])
    narrow = profile("narrow", 1, [kernel(blocks=4, threads=32, us=100)])
    write_profiles(tmp_path / "profiles/narrow.jsonl", [narrow])


FILES = ("--cluster", "cluster.yaml", "--workload", "workload.yaml", "--profiles", "profiles")


def test_place_prints_a_placement_and_explains_it(videojam: Videojam) -> None:
    result = videojam("roomie", "place", *FILES, "--explain")
    assert result.exit_code == 0, result.output
    assert "wide-0 (wide@1): on n/0" in result.stdout
    assert "n/0 is empty: nothing interferes" in result.stdout
    assert "mean throughput loss" in result.stdout
    assert "synthetic" not in result.output


def test_place_writes_a_state_from_which_another_goes_on(
    videojam: Videojam, tmp_path: Path
) -> None:
    assert videojam("roomie", "place", *FILES, "--out", "now.json").exit_code == 0
    (tmp_path / "workload.yaml").write_text(
        "version: 1\nrequests:\n  more: {model: narrow, batch: 1}\n"
    )
    result = videojam("roomie", "place", *FILES, "--state", "now.json", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    placed = [i["instance"] for gpu in found["gpus"] for i in gpu["instances"]]
    assert sorted(placed) == ["more", "narrow", "wide-0", "wide-1"]
    assert [d["instance"] for d in found["decisions"]] == ["more"]


def test_what_finds_no_room_is_deferred_with_an_exit_code_of_its_own(
    videojam: Videojam, tmp_path: Path
) -> None:
    (tmp_path / "workload.yaml").write_text(
        "version: 1\nrequests:\n  wide: {model: wide, instances: 9, batch: 1}\n"
    )
    result = videojam("roomie", "place", *FILES)
    assert result.exit_code == 2
    assert "deferred: wide-" in result.stderr
    assert "GPU(s) left out" in result.stderr
    looser = videojam("roomie", "place", *FILES, "--lambda", "1")
    assert looser.exit_code == 0, looser.output


@pytest.mark.parametrize(
    "placer", ["roomie", "usher", "infaas", "least-loaded", "random", "optimum"]
)
def test_every_placer_can_be_named(videojam: Videojam, placer: str) -> None:
    result = videojam("roomie", "place", *FILES, "--placer", placer, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["placer"] == placer


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--placer", "rommie"), "did you mean 'roomie'?"),
        (("--placer", "usher", "--moves", "1"), "neither lambda nor moves"),
        (("--profiles", "nowhere"), "nowhere: no such folder"),
        (("--state", "none.json"), "none.json: no such file"),
        (("--devices", "none.yaml"), "none.yaml: no such file"),
    ],
)
def test_wrong_arguments_are_told_apart(
    videojam: Videojam, arguments: tuple[str, ...], words: str
) -> None:
    result = videojam("roomie", "place", *FILES, *arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "remedy" in result.stderr


def test_a_wrong_file_is_named_with_its_line(videojam: Videojam, tmp_path: Path) -> None:
    (tmp_path / "workload.yaml").write_text(WORKLOAD.replace("batch: 1}", "batsh: 1}"))
    result = videojam("roomie", "place", *FILES)
    assert result.exit_code == 1
    assert "workload.yaml:3" in result.stderr
    assert "did you mean 'batch'" in result.stderr


@pytest.mark.parametrize("command", ["place", "compare"])
@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (
            WORKLOAD.replace("model: wide", "model: wied"),
            ("workload.yaml:3: requests.wide.model", "did you mean 'wide'?"),
        ),
        (WORKLOAD, ("workload.yaml:4: requests.narrow: ", "runs on n/", "leave out --state")),
    ],
)
def test_a_model_without_a_profile_and_a_name_that_is_taken_are_told_with_their_line(
    videojam: Videojam, tmp_path: Path, *, command: str, workload: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "other.yaml").write_text(
        "version: 1\nrequests:\n  narrow: {model: narrow, batch: 1}\n"
    )
    assert videojam(
        "roomie", "place", "--cluster", "cluster.yaml", "--workload", "other.yaml",
        "--profiles", "profiles", "--out", "now.json",
    ).exit_code == 0  # fmt: skip
    (tmp_path / "workload.yaml").write_text(workload)
    result = videojam("roomie", command, *FILES, "--state", "now.json")
    assert result.exit_code == 1
    for each in words:
        assert each in result.stderr


def test_compare_runs_all_placers_and_draws(videojam: Videojam, tmp_path: Path) -> None:
    result = videojam("roomie", "compare", *FILES, "--plot", "compare.png")
    assert result.exit_code == 0, result.output
    for name in ("roomie", "usher", "infaas", "least-loaded", "random", "optimum"):
        assert name in result.stdout
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    plain = json.loads(videojam("roomie", "compare", *FILES, "--json").stdout)
    assert plain["optimum"]["mean_throughput_loss"] <= plain["roomie"]["mean_throughput_loss"]


def test_compare_goes_on_where_one_placer_has_no_answer(videojam: Videojam, tmp_path: Path) -> None:
    (tmp_path / "workload.yaml").write_text(
        "version: 1\nrequests:\n  wide: {model: wide, instances: 12, batch: 1}\n"
    )
    result = videojam("roomie", "compare", *FILES)
    assert result.exit_code == 0, result.output
    assert "optimum: no placement of all requests" in result.stderr
    assert "least-loaded" in result.stdout


def test_interference_shows_every_reading_and_draws(videojam: Videojam, tmp_path: Path) -> None:
    result = videojam(
        "roomie", "interference", "wide", "narrow@1", "--profiles", "profiles", "--plot", "p.png"
    )
    assert result.exit_code == 0, result.output
    for words in ("printed, lockstep, gamma by count", "dominant, expected  <- default",
                  "co-execution, first-come", "kernels interfere in 100.0 %"):  # fmt: skip
        assert words in result.stdout
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_interference_as_json_has_both_directions(videojam: Videojam) -> None:
    result = videojam("roomie", "interference", "wide", "wide", "--profiles", "profiles", "--json")
    found = json.loads(result.stdout)
    both = found["co_execution"]["proportional"]
    assert [drop["slowdown"] for drop in both] == pytest.approx([1, 1])


def test_a_model_without_a_profile_for_the_gpu_is_an_error(videojam: Videojam) -> None:
    result = videojam("roomie", "interference", "wide", "other", "--profiles", "profiles")
    assert result.exit_code == 1
    assert "remedy: models profiled: narrow, wide" in result.stderr
    result = videojam("roomie", "interference", "wide", "narow", "--profiles", "profiles")
    assert "did you mean 'narrow'? models profiled: narrow, wide" in result.stderr
    result = videojam("roomie", "interference", "wide", "wide@4", "--profiles", "profiles")
    assert "batch sizes profiled for it: 1" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("place", *FILES, "--out", "nowhere/now.json"), "nowhere/now.json: --out: cannot be"),
        (("place", *FILES, "--out", "profiles"), "profiles: --out: cannot be written: Is a dir"),
        (("compare", *FILES, "--plot", "nowhere/c.png"), "nowhere/c.png: --plot: cannot be"),
        (("compare", *FILES, "--plot", "c.doc"), "--plot: a plot is a .png, .svg, .pdf file"),
        (
            ("interference", "wide", "wide", "--profiles", "profiles", "--plot", "nowhere/p.png"),
            "nowhere/p.png: --plot: cannot be written: No such file",
        ),
        (
            ("interference", "wide", "wide", "--profiles", "profiles", "--plot", "p"),
            "remedy: --plot p.png",
        ),
    ],
)
def test_files_that_cannot_be_written_are_told_with_their_option(
    videojam: Videojam, words: tuple[str, ...], said: str
) -> None:
    result = videojam("roomie", *words)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "remedy: " in result.stderr
    assert "internal error" not in result.stderr


def test_plots_without_matplotlib_say_what_to_install_before_any_work(
    videojam: Videojam, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError("not here")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    result = videojam("roomie", "compare", *FILES, "--plot", "c.png")
    assert result.exit_code == 1
    assert "pip install 'videojam[plot]'" in result.stderr
    assert not result.stdout


def imported(videojam: Videojam, folder: Path, out: str) -> Result:
    (folder / "trace.json").write_text(json.dumps(trace()))
    return videojam(
        "roomie", "import", "trace.json", "--model", "net", "--batch", "4", "--memory", "1.5GiB",
        "--inference-time", "0.009ms", "--out", out,
    )  # fmt: skip


def test_an_imported_trace_becomes_a_profile_that_place_reads(
    videojam: Videojam, tmp_path: Path
) -> None:
    result = imported(videojam, tmp_path, "made")
    assert result.exit_code == 0, result.output
    assert "net@4 on A100-SXM4-40GB: 2 kernels, 0.009 ms" in result.stdout
    (tmp_path / "workload.yaml").write_text("version: 1\nrequests:\n  x: {model: net}\n")
    assert videojam("roomie", "place", *FILES, "--profiles", "made").exit_code == 0


def test_a_folder_of_profiles_that_cannot_be_made_is_told(
    videojam: Videojam, tmp_path: Path
) -> None:
    result = imported(videojam, tmp_path, "trace.json/made")
    assert result.exit_code == 1
    assert "--out: cannot be written: Not a directory" in result.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--memory", "much"), ("--inference-time", "soon"),
                          ("--inference-time", "0s"), ("--weights", "-")],
)  # fmt: skip
def test_a_wrong_size_or_time_names_its_option(
    videojam: Videojam, tmp_path: Path, option: str, value: str
) -> None:
    (tmp_path / "trace.json").write_text(json.dumps(trace()))
    result = videojam(
        "roomie", "import", "trace.json", "--model", "n", "--batch", "1", "--memory", "1GiB",
        option, value,
    )  # fmt: skip
    assert result.exit_code == 1
    assert option in result.stderr


def test_profile_without_a_gpu_says_so(videojam: Videojam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def none() -> None:
        from roomie.errors import DeviceError  # noqa: PLC0415 - as the real one raises it

        raise DeviceError("torch finds no CUDA device", remedy="run on a machine with one")

    monkeypatch.setattr("roomie.profiler.TorchBackend", none)
    result = videojam("roomie", "profile", "vgg19")
    assert result.exit_code == 1
    assert "no CUDA device" in result.stderr


def test_devices_are_listed(videojam: Videojam) -> None:
    result = videojam("roomie", "devices")
    assert result.exit_code == 0
    assert "A100-SXM4-40GB/3g.20gb" in result.stdout
    plain = json.loads(videojam("roomie", "devices", "--json").stdout)
    assert set(plain) == set(load_devices().devices)


def test_the_profiles_that_ship_are_called_synthetic(videojam: Videojam) -> None:
    result = videojam("roomie", "interference", "alexnet", "googlenet")
    assert result.exit_code == 0, result.output
    assert "synthetic: computed from the" in result.stderr
    assert "synthetic" in result.stdout


@pytest.mark.parametrize(
    "command", ["place", "compare", "interference", "profile", "import", "devices"]
)
def test_every_command_has_help_with_examples(videojam: Videojam, command: str) -> None:
    result = videojam("roomie", command, "--help")
    assert result.exit_code == 0
    assert f"videojam roomie {command}" in result.stdout
