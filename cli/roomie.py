"""`videojam roomie`: place model instances on GPUs, and see why."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.common import JsonOption, check_plot, stderr, stdout, with_examples, writing
from cli.models import LOG_HELP, log
from cli.roomie_recording import IMPORT_HELP, PROFILE_HELP, DevicesOption, import_, profile
from dataflow.errors import ConfigError

if TYPE_CHECKING:
    from roomie.cluster import ClusterState, Request
    from roomie.costs import PairCosts
    from roomie.devices import DeviceTable
    from roomie.interference import Mode
    from roomie.placers import Placer
    from roomie.plans import Plan
    from roomie.profiles import ProfileStore

EXIT_DEFERRED = 2
"""Some requests found no GPU."""

app = typer.Typer(
    add_completion=False,
    name="roomie",
    no_args_is_help=True,
    help="Predict how models slow each other on a GPU, and place them so that they do so least.",
    rich_markup_mode="rich",
)

ClusterOption = Annotated[
    Path, typer.Option("--cluster", metavar="FILE", help="cluster.yaml: nodes and their GPUs.")
]
ProfilesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--profiles",
        metavar="DIR",
        help="Folder of profiles; may be given more than once. [dim]Default: `synthetic`, those "
        "that ship.[/]",
        show_default=False,
    ),
]
WorkloadOption = Annotated[
    Path, typer.Option("--workload", metavar="FILE", help="Which instances are wanted.")
]
StateOption = Annotated[
    Path | None, typer.Option("--state", metavar="FILE", help="What runs already; see --out.")
]
ModeOption = Annotated[
    Literal["printed", "swapped", "adjusted", "dominant"],
    typer.Option(help="How interfering kernels delay each other; see docs/roomie.md."),
]
AlignmentOption = Annotated[
    Literal["lockstep", "expected"],
    typer.Option(help="Which kernels meet; lockstep is the thesis' Algorithm 2."),
]
GammaOption = Annotated[
    Literal["count", "time"], typer.Option(help="Of lockstep, what the overlap factor compares.")
]
SeedOption = Annotated[int, typer.Option(help="Of whatever a placer draws.")]
PlotOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help=".png, .svg or .pdf to draw; needs the extra `plot`."),
]


def _costs(
    profiles: list[str] | None,
    table: DeviceTable,
    mode: Mode,
    alignment: Literal["lockstep", "expected"],
    gamma: Literal["count", "time"],
) -> PairCosts:
    from roomie.costs import PairCosts
    from roomie.interference import InterferenceSettings
    from roomie.profile_files import BUILTIN, load_profiles

    store = load_profiles(profiles or [BUILTIN], table)
    made_up = sorted({p.device.name for p in store if p.origin == "synthetic"})
    if made_up:
        stderr().print(
            f"note: the profiles for {', '.join(made_up)} are synthetic: computed from the "
            "networks' layers, not measured",
            style="yellow",
        )
    settings = InterferenceSettings(mode=mode, alignment=alignment, gamma=gamma)
    return PairCosts(store, settings)


def _problem(
    cluster: Path, workload: Path, state: Path | None, table: DeviceTable, profiles: ProfileStore
) -> tuple[ClusterState, list[Request]]:
    from roomie.declarations import load_cluster, load_state, load_workload

    before = load_cluster(cluster, table)
    if state is not None:
        before = load_state(state, before, profiles=profiles)
    return before, load_workload(workload, profiles=profiles, state=before)


@app.command(
    "place",
    help=with_examples(
        "Decide which GPU takes each instance of a workload, at which batch size.\n\n"
        "Exit code 0: all are placed; 2: some found no GPU.",
        "videojam roomie place --cluster cluster.yaml --workload workload.yaml",
        "videojam roomie place --cluster c.yaml --workload w.yaml --explain   and why",
        "videojam roomie place --cluster c.yaml --workload w.yaml --out now.json",
        "videojam roomie place --cluster c.yaml --workload more.yaml --state now.json",
    ),
)
def place(
    *,
    cluster: ClusterOption,
    workload: WorkloadOption,
    profiles: ProfilesOption = None,
    placer: Annotated[
        str, typer.Option(help="roomie, usher, infaas, least-loaded, random or optimum.")
    ] = "roomie",
    state: StateOption = None,
    devices: DevicesOption = None,
    limit: Annotated[
        float | None,
        typer.Option("--lambda", min=0, help="Of roomie: most mean drop on a GPU. Default: 0.5."),
    ] = None,
    moves: Annotated[
        int, typer.Option(min=0, help="Of roomie: running instances that may be moved.")
    ] = 0,
    mode: ModeOption = "dominant",
    alignment: AlignmentOption = "expected",
    gamma: GammaOption = "count",
    seed: SeedOption = 0,
    explain: Annotated[bool, typer.Option("--explain", help="Say why, choice by choice.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the state here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """See the help above."""
    from cli.roomie_view import plan_as_json, print_plan
    from roomie.declarations import state_as_json
    from roomie.devices import load_devices
    from roomie.plans import predict

    table = load_devices(devices)
    costs = _costs(profiles, table, mode, alignment, gamma)
    before, requests = _problem(cluster, workload, state, table, costs.store)
    chosen = _placer(placer, costs, seed=seed, limit=limit, moves=moves)
    plan = chosen.place(before, requests)
    prediction = predict(plan.state, costs)
    if as_json:
        stdout().print_json(json.dumps(plan_as_json(plan, prediction)))
    else:
        print_plan(plan, prediction, stdout())
        if explain:
            stdout().print(plan.explain(), markup=False)
    if out is not None:
        with writing(out, "--out"):
            out.write_text(state_as_json(plan.state), encoding="utf-8")
    _end(plan)


def _placer(name: str, costs: PairCosts, *, seed: int, limit: float | None, moves: int) -> Placer:
    from roomie.local_search import MoveBudget
    from roomie.placers import build_placer
    from roomie.placers.roomie import RoomiePlacer

    placer = build_placer(name, costs, seed=seed)
    if isinstance(placer, RoomiePlacer):
        settings = replace(placer.settings, budget=MoveBudget(moves=moves))
        if limit is not None:
            settings = replace(settings, limit=limit)
        return RoomiePlacer(costs, settings)
    if limit is not None or moves:
        raise ConfigError(
            f"the placer {name} has neither lambda nor moves",
            key="placer",
            remedy="leave --lambda and --moves out, or take --placer roomie",
        )
    return placer


def _end(plan: Plan) -> None:
    for decision in plan.deferred:
        lines = (f"deferred: {decision.request.id}", *(f"  - {why}" for why in decision.reasons))
        stderr().print("\n".join(lines), style="yellow", markup=False)
    if plan.deferred:
        raise typer.Exit(EXIT_DEFERRED)


@app.command(
    "compare",
    help=with_examples(
        "Run all placers on one workload, and compare what is predicted of their placements.",
        "videojam roomie compare --cluster cluster.yaml --workload workload.yaml",
        "videojam roomie compare --cluster c.yaml --workload w.yaml --plot compare.png",
    ),
)
def compare(
    *,
    cluster: ClusterOption,
    workload: WorkloadOption,
    profiles: ProfilesOption = None,
    state: StateOption = None,
    devices: DevicesOption = None,
    mode: ModeOption = "dominant",
    alignment: AlignmentOption = "expected",
    gamma: GammaOption = "count",
    seed: SeedOption = 0,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """See the help above."""
    from cli.roomie_view import comparison_as_json, print_comparison
    from dataflow.errors import VideojamError
    from roomie.devices import load_devices
    from roomie.placers import available, build_placer
    from roomie.plans import Prediction, predict
    from roomie.plots import draw_comparison

    if plot is not None:
        check_plot(plot)
    table = load_devices(devices)
    costs = _costs(profiles, table, mode, alignment, gamma)
    before, requests = _problem(cluster, workload, state, table, costs.store)
    found: dict[str, tuple[Plan, Prediction]] = {}
    for name in available():
        try:
            plan = build_placer(name, costs, seed=seed).place(before, requests)
        except VideojamError as error:
            stderr().print(f"{name}: {error}", style="yellow", markup=False)
            continue
        found[name] = plan, predict(plan.state, costs)
    if as_json:
        stdout().print_json(json.dumps(comparison_as_json(found)))
    else:
        print_comparison(found, stdout())
    if plot is not None:
        with writing(plot, "--plot"):
            draw_comparison(plot, {name: prediction for name, (_, prediction) in found.items()})
        stderr().print(f"wrote {plot}", markup=False)


@app.command(
    "interference",
    help=with_examples(
        "Show how two models slow each other on a GPU, by every reading of the predictor and by "
        "the event-driven co-execution, and draw their kernels side by side.",
        "videojam roomie interference alexnet ssd300_vgg16 --device AGX-Xavier",
        "videojam roomie interference googlenet vgg19 --batch 8 --plot pair.png",
    ),
)
def interference(
    *,
    first: Annotated[str, typer.Argument(metavar="A", help="A model, or MODEL@BATCH.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another, or the same.")],
    profiles: ProfilesOption = None,
    device: Annotated[str, typer.Option(help="Kind of GPU.")] = "A100-SXM4-40GB",
    batch: Annotated[int, typer.Option(min=1, help="Batch size where none is named.")] = 1,
    devices: DevicesOption = None,
    policy: Annotated[
        Literal["proportional", "equal", "first-come"],
        typer.Option(help="Of the plot: how kernels share an SM."),
    ] = "proportional",
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """See the help above."""
    from cli.roomie_view import pair_as_json, print_pair
    from roomie.devices import load_devices
    from roomie.pairs import examine_pair, parse_variant
    from roomie.plots import draw_pair

    if plot is not None:
        check_plot(plot)
    table = load_devices(devices)
    costs = _costs(profiles, table, "dominant", "expected", "count")
    kind = table.device(device)
    variants = parse_variant(first, batch), parse_variant(second, batch)
    report = examine_pair(costs.store, kind, *variants)
    if as_json:
        stdout().print_json(json.dumps(pair_as_json(report)))
    else:
        print_pair(report, stdout())
    if plot is not None:
        with writing(plot, "--plot"):
            draw_pair(plot, report, policy)
        stderr().print(f"wrote {plot}", markup=False)


@app.command(
    "devices",
    help=with_examples(
        "List the kinds of GPUs whose limits are known, MIG slices included.",
        "videojam roomie devices",
        "videojam roomie devices --devices mine.yaml",
    ),
)
def list_devices(*, devices: DevicesOption = None, as_json: JsonOption = False) -> None:
    """See the help above."""
    from cli.roomie_view import print_devices
    from roomie.devices import load_devices

    table = load_devices(devices)
    if as_json:
        plain = {
            name: {**asdict(device), "limits": device.limits.model_dump()}
            for name, device in table.devices.items()
        }
        stdout().print_json(json.dumps(plain))
    else:
        print_devices(table, stdout())


# Last: these two say where profiles come from.
app.command("profile", help=PROFILE_HELP)(profile)
app.command("import", help=IMPORT_HELP)(import_)
app.command("log", help=LOG_HELP)(log)
