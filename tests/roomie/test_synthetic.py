"""Synthetic profiles: families of kernels, their calibration, and the profiles that ship."""

from __future__ import annotations

import math
from collections import defaultdict
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomie.devices import load_devices
from roomie.importers import ImportSettings, import_profile
from roomie.profile_files import load_profiles
from roomie.profiles import Profile, ProfileStore, Variant, check_kernels
from roomie.synthetic.families import NO_KERNEL, kernels_of
from roomie.synthetic.generate import DEVICES, profile_of
from roomie.synthetic.layers import LayerOp, Network
from roomie.synthetic.models import BATCHES, MODELS, postprocessing
from tests.roomie.kit import A100, SHARED_TRACE

XAVIER = load_devices().device("AGX-Xavier")


@pytest.fixture(scope="module")
def shipped() -> ProfileStore:
    return load_profiles(["synthetic"], load_devices())


def convolution(
    *, batch: int, channels: int, pixels: int, filters: int, window: int, groups: int = 1
) -> LayerOp:
    return LayerOp(
        name="convolution",
        inputs=((batch, channels, pixels, pixels), (filters, channels // groups, window, window)),
        output=(batch, filters, pixels, pixels),
        groups=groups,
    )


def alexnet(batch: int) -> Network:
    """Torchvision's AlexNet, written down by hand."""
    operators: list[LayerOp] = []
    shape: tuple[int, ...] = (batch, 3, 224, 224)
    for filters, window, pixels, pool in (
        (64, 11, 55, 27), (192, 5, 27, 13), (384, 3, 13, 0), (256, 3, 13, 0), (256, 3, 13, 6),
    ):  # fmt: skip
        out = (batch, filters, pixels, pixels)
        weight = (filters, shape[1], window, window)
        operators += [
            LayerOp(name="convolution", inputs=(shape, weight), output=out, bias=True),
            LayerOp(name="relu", inputs=(out,), output=out),
        ]
        shape = out
        if pool:
            pooled = (batch, filters, pool, pool)
            operators.append(LayerOp(name="max_pool2d_with_indices", inputs=(out,), output=pooled))
            shape = pooled
    operators.append(LayerOp(name="_adaptive_avg_pool2d", inputs=(shape,), output=shape))
    for inner, outer in ((9216, 4096), (4096, 4096), (4096, 1000)):
        operators.append(
            LayerOp(
                name="addmm",
                inputs=((outer,), (batch, inner), (inner, outer)),
                output=(batch, outer),
            )
        )
    return Network(
        model="alexnet", batch=batch, operators=tuple(operators), weight_bytes=244_403_360,
        activation_bytes=100 << 20,
    )  # fmt: skip


def test_operators_that_only_rename_launch_nothing() -> None:
    for name in NO_KERNEL:
        assert kernels_of(LayerOp(name=name, inputs=((2, 3),), output=(3, 2)), A100) == ()


def test_an_operator_of_no_family_is_an_error() -> None:
    with pytest.raises(NotImplementedError, match="fft_fft2"):
        kernels_of(LayerOp(name="fft_fft2", inputs=((2, 3),), output=(2, 3)), A100)


def test_a_wide_convolution_runs_on_tensor_cores_where_there_are_any() -> None:
    op = convolution(batch=128, channels=192, pixels=13, filters=384, window=3)
    *transpositions, product = kernels_of(op, A100)
    assert [k.name for k in transpositions] == ["nchwToNhwcKernel"] * 2
    # As in the trace: grid 3 x 169, 252 registers, 66 KiB.
    assert (product.grid, product.registers, product.shared_memory) == ((3, 169, 1), 252, 67584)
    (direct,) = kernels_of(op, XAVIER)
    assert "scudnn" in direct.name


def test_a_convolution_of_three_channels_does_not() -> None:
    op = convolution(batch=1, channels=3, pixels=224, filters=64, window=7)
    (direct,) = kernels_of(op, A100)
    assert "scudnn" in direct.name


def test_a_depthwise_convolution_is_a_kernel_of_its_own() -> None:
    op = convolution(batch=1, channels=96, pixels=56, filters=96, window=7, groups=96)
    (found,) = kernels_of(op, A100)
    assert found.name == "conv_depthwise2d_forward"
    assert found.grid_blocks == math.ceil(96 * 56 * 56 / 256)


def test_small_products_read_the_matrix_once() -> None:
    op = LayerOp(name="mm", inputs=((1, 4096), (4096, 1000)), output=(1, 1000))
    (found,) = kernels_of(op, A100)
    assert found.name == "gemv2T_kernel"


sizes = st.sampled_from([1, 7, 16, 64, 200])


@given(
    batch=st.sampled_from([1, 2, 8]), channels=sizes, pixels=st.sampled_from([1, 7, 14, 56]),
    filters=sizes, window=st.sampled_from([1, 3]),
)  # fmt: skip
def test_kernels_of_any_convolution_fit_their_device_and_more_images_take_no_less(
    batch: int, channels: int, pixels: int, filters: int, window: int
) -> None:
    for device in (A100, XAVIER):
        times = []
        for images in (batch, 4 * batch):
            op = convolution(
                batch=images, channels=channels, pixels=pixels, filters=filters, window=window
            )
            kernels = kernels_of(op, device)
            check_kernels(kernels, device)
            times.append(sum(k.duration_ns for k in kernels))
            # Few blocks cannot keep the memory system busy: less work may take a little more.
        assert 0 < times[0] <= times[1] * 1.25


def test_postprocessing_launches_the_same_for_each_image() -> None:
    one, four = (postprocessing(500, 10, batch=batch, kept=100) for batch in (1, 4))
    assert len(four) - 1 == 4 * (len(one) - 1)


def test_all_models_ship_at_all_batches_on_both_devices_and_say_that_they_are_synthetic(
    shipped: ProfileStore,
) -> None:
    assert len(shipped) == len(MODELS) * len(BATCHES) * len(DEVICES) == 228
    assert shipped.models == tuple(sorted(MODELS))
    for found in shipped:
        assert found.origin == "synthetic"
        assert "SYNTHETIC" in found.note
        assert found.weight_bytes < found.memory_bytes < found.device.memory_bytes


def test_larger_batches_take_longer_and_serve_more_in_the_shipped_profiles(
    shipped: ProfileStore,
) -> None:
    for name in DEVICES:
        device = load_devices().device(name)
        for model in MODELS:
            found = [shipped.find(Variant(model, batch), device) for batch in BATCHES]
            profiles = [p for p in found if p is not None]
            times = [p.inference_time_s for p in profiles]
            assert times == sorted(times)
            assert profiles[-1].throughput > profiles[0].throughput


def by_kind(profile: Profile) -> dict[str, float]:
    """Time in ms of convolutions, matrix products and the rest."""
    times: dict[str, float] = defaultdict(float)
    for kernel in profile.kernels:
        name = kernel.name
        if any(part in name for part in ("sgemm", "gemv")):
            kind = "products"
        elif any(part in name for part in ("scudnn", "fprop", "fft", "gcgemm", "Nhwc", "Offsets")):
            kind = "convolutions"
        else:
            kind = "rest"
        times[kind] += kernel.duration_ns * 1e-6
    return times


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED_TRACE.is_file(), reason=f"no real trace at {SHARED_TRACE}")
def test_the_synthetic_alexnet_takes_about_as_long_as_the_real_one() -> None:
    settings = ImportSettings(
        model="alexnet", batch=128, memory_bytes=1 << 30, device="A100-SXM4-40GB"
    )
    real = by_kind(import_profile(SHARED_TRACE, settings, load_devices()))
    made = by_kind(profile_of(alexnet(128), A100))
    # The rest is too slow: what the real one finds in its cache, the model reads from memory.
    for kind, tolerance in (("convolutions", 0.25), ("products", 0.25), ("rest", 0.3)):
        assert made[kind] == pytest.approx(real[kind], rel=tolerance), kind
    assert sum(made.values()) == pytest.approx(sum(real.values()), rel=0.15)


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED_TRACE.is_file(), reason=f"no real trace at {SHARED_TRACE}")
def test_half_of_the_kernels_of_the_calibration_are_within_a_tenth_of_the_trace() -> None:
    settings = ImportSettings(
        model="alexnet", batch=128, memory_bytes=1 << 30, device="A100-SXM4-40GB"
    )
    real = import_profile(SHARED_TRACE, settings, load_devices()).kernels
    made = {(k.grid, k.registers): k for k in profile_of(alexnet(128), A100).kernels}
    ratios = sorted(
        other.duration_ns / kernel.duration_ns
        for kernel in real
        if kernel.duration_ns > 10_000
        and (other := made.get((kernel.grid, kernel.registers))) is not None
    )
    assert len(ratios) >= 15
    assert sum(abs(ratio - 1) < 0.1 for ratio in ratios) >= len(ratios) / 2
    assert min(ratios) > 0.8


@pytest.mark.skipif(find_spec("torchvision") is None, reason="needs the extra `profile`")
@pytest.mark.filterwarnings("ignore")  # of torch and its packages
def test_walking_over_alexnet_finds_the_layers_written_down_by_hand() -> None:
    from roomie.synthetic.walk import walk  # noqa: PLC0415 - needs torch

    network = walk("alexnet", 2)
    wanted = [kernels_of(op, A100) for op in alexnet(2).operators]
    found = [kernels_of(op, A100) for op in network.operators]
    plain = [k for launches in found for k in launches if k.name != "vectorized_elementwise_kernel"]
    assert network.weight_bytes == 244_403_360
    assert len(plain) == sum(map(len, wanted)) + 2  # the classifier's two relus
