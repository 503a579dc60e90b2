"""Which kernels an operator launches: the families of eager PyTorch in FP32.

Marked [T]: launch configuration read off the real trace (see `timing`). Marked [A]: assumed, by
analogy to those or from PyTorch's published launch bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from roomie.devices import Device
from roomie.profiles import Kernel
from roomie.synthetic.layers import LayerOp, Shape
from roomie.synthetic.timing import Unit, Work, duration_ns

FLOAT = 4
"""Bytes of an element."""

TF32_EFFICIENCY = 0.81
"""[T] implicit GEMM on tensor cores: 0.79 to 0.83."""
SCUDNN_EFFICIENCY = 0.94
"""[T] direct FP32 convolution."""
SGEMM_EFFICIENCY = 0.70
"""[T] FP32 matrix products of fully connected layers: 0.63 to 0.77."""
VECTORISED_BANDWIDTH = 0.88
"""[T] clamp, 4 elements a thread."""
STRIDED_BANDWIDTH = 0.68
"""[T] addition with broadcast."""
TRANSPOSE_BANDWIDTH = 0.79
"""[T] NCHW to NHWC."""
POOL_BANDWIDTH = 0.67
"""[T] max pooling, with the indices that it writes."""

ADAPTIVE_POOL_BANDWIDTH = 0.046
"""[T] adaptive average pooling of small planes, a block or more for each."""

NO_KERNEL = frozenset(
    {
        "view", "_unsafe_view", "t", "transpose", "permute", "split", "chunk", "unsqueeze",
        "squeeze", "expand", "empty", "as_strided", "slice", "select", "detach", "alias", "unbind",
    }
)  # fmt: skip
"""Operators that only change a tensor's description."""

_Launch = tuple[Kernel, Work]


@dataclass(frozen=True)
class _Tile:
    """A blocked matrix product: m x n of the output a block."""

    name: str
    m: int
    n: int
    threads: int
    registers: int
    shared: int
    unit: Unit
    efficiency: float
    oldest: str = "7.0"

    def launch(self, *, m: int, n: int, k: int, batches: int, moved: float, splits: int) -> _Launch:
        grid = (_ceil(n, self.n), _ceil(m, self.m), batches * splits)
        flops = 2.0 * grid[0] * self.n * grid[1] * self.m * k * batches
        if splits > 1:  # partial sums are added in memory
            moved += 2.0 * FLOAT * m * n * batches * splits
        return _kernel(
            self.name,
            grid,
            self.threads,
            self.registers,
            shared=self.shared,
            work=Work(flops=flops, bytes=moved, unit=self.unit, compute_efficiency=self.efficiency),
        )


_CONVOLUTIONS = (
    _Tile("xmma_fprop_implicit_gemm_tf32_128x128x16", 128, 128, 128, 252, 67584, "tf32",
          TF32_EFFICIENCY, "8.0"),  # [T]
    _Tile("xmma_fprop_implicit_gemm_tf32_128x64x16", 128, 64, 128, 168, 49152, "tf32",
          0.70, "8.0"),  # [A]
    _Tile("xmma_fprop_implicit_gemm_tf32_64x32x32", 64, 32, 64, 128, 36864, "tf32",
          0.50, "8.0"),  # [A]
    _Tile("scudnn_128x64_relu", 128, 64, 128, 160, 16384, "fp32", SCUDNN_EFFICIENCY),  # [T]
    _Tile("scudnn_128x32_relu", 128, 32, 128, 96, 12288, "fp32", 0.80),  # [A]
)  # fmt: skip
_DIRECT = tuple(tile for tile in _CONVOLUTIONS if tile.unit == "fp32")
_GEMMS = (
    _Tile("sgemm_128x128_tn", 128, 128, 256, 122, 33280, "fp32", 0.90),  # [A]
    _Tile("sgemm_128x64_tn", 128, 64, 128, 122, 24576, "fp32", 0.85),  # [A]
    _Tile("sgemm_32x32_sliced1x4_tn", 32, 32, 128, 86, 32768, "fp32", SGEMM_EFFICIENCY),  # [T]
)


def kernels_of(op: LayerOp, device: Device) -> tuple[Kernel, ...]:
    """The launches of an operator, with their durations alone on the device.

    Raises:
        NotImplementedError: no family is known for that operator.
    """
    if op.name in NO_KERNEL or not op.numel:
        return ()
    family = _FAMILIES.get(op.name)
    if family is None:
        raise NotImplementedError(f"no kernel family for the operator {op.name!r}")
    return tuple(_timed(launch, device) for launch in family(op, device))


def _timed(launch: _Launch, device: Device) -> Kernel:
    kernel, work = launch
    return Kernel(
        name=kernel.name,
        duration_ns=duration_ns(kernel, work, device),
        grid=kernel.grid,
        block=kernel.block,
        registers=kernel.registers,
        static_shared=0,
        dynamic_shared=kernel.dynamic_shared,
    )


def _kernel(
    name: str,
    grid: Shape | int,
    threads: Shape | int,
    registers: int,
    *,
    shared: int = 0,
    work: Work,
) -> _Launch:
    return (
        Kernel(
            name=name,
            duration_ns=0,
            grid=_three(grid),
            block=_three(threads),
            registers=registers,
            static_shared=0,
            dynamic_shared=shared,
        ),
        work,
    )


def _three(size: Shape | int) -> tuple[int, int, int]:
    parts = (size,) if isinstance(size, int) else size
    x, y, z = (*parts, 1, 1)[:3]
    return max(x, 1), max(y, 1), max(z, 1)


def _ceil(value: float, unit: int) -> int:
    return max(1, math.ceil(value / unit))


_SPLITS = (1, 2, 4, 8, 16)
"""[A] of the inner dimension, where the output alone has too few tiles; the trace shows 6."""
_LEAST_SPLIT = 64


def _fastest(
    tiles: tuple[_Tile, ...], device: Device, *, m: int, n: int, k: int, batches: int, moved: float
) -> _Launch:
    """What a library's heuristic would take."""
    capability = _version(device.compute_capability)
    launches = [
        tile.launch(m=m, n=n, k=k, batches=batches, moved=moved, splits=splits)
        for tile in tiles
        for splits in _SPLITS
        if capability >= _version(tile.oldest) and (splits == 1 or k >= splits * _LEAST_SPLIT)
    ]
    return min(launches, key=lambda launch: duration_ns(launch[0], launch[1], device))


def _version(capability: str) -> tuple[int, ...]:
    return tuple(map(int, capability.split(".")))


def _convolution(op: LayerOp, device: Device) -> Iterator[_Launch]:
    source, weight = op.inputs[0], op.inputs[1]
    batch, channels = source[0], source[1]
    filters, per_group = weight[0], weight[1]
    window = math.prod(weight[2:])
    pixels = math.prod(op.output[2:])
    moved = FLOAT * (math.prod(source) + math.prod(weight) + op.numel)
    if op.groups == channels and per_group == 1 and op.groups > 1:
        # [A] PyTorch's own depthwise kernel: one thread an output, bound by memory.
        yield _kernel(
            "conv_depthwise2d_forward", _ceil(op.numel, 256), 256, 40,
            work=Work(flops=2.0 * op.numel * window, bytes=moved, compute_efficiency=0.3,
                      memory_efficiency=POOL_BANDWIDTH),
        )  # fmt: skip
    else:
        tensor_cores = (
            device.tf32_tflops > 0 and per_group % 4 == 0 and (filters // op.groups) >= 16
        )
        if tensor_cores:
            yield _to_nhwc(source)
            yield _to_nhwc((filters, per_group, window))
        yield _fastest(
            _CONVOLUTIONS if tensor_cores else _DIRECT,
            device,
            m=batch * pixels,
            n=filters // op.groups,
            k=per_group * window,
            batches=op.groups,
            moved=moved,
        )
    if op.bias:
        yield _strided("elementwise_kernel<128, 2> add", op.numel, 2 * op.numel)


def _to_nhwc(shape: Shape) -> _Launch:
    """[T] the transposition in front of a convolution on tensor cores."""
    pixels = math.prod(shape[2:])
    return _kernel(
        "nchwToNhwcKernel", (_ceil(pixels, 32), _ceil(shape[1], 32), shape[0]), 256, 32,
        shared=4224,
        work=Work(bytes=2.0 * FLOAT * math.prod(shape), memory_efficiency=TRANSPOSE_BANDWIDTH),
    )  # fmt: skip


def _strided(name: str, numel: int, elements: float, registers: int = 40) -> _Launch:
    """[T] elementwise with broadcast or strides: two elements a thread."""
    return _kernel(
        name, _ceil(numel, 256), 128, registers,
        work=Work(bytes=FLOAT * elements, memory_efficiency=STRIDED_BANDWIDTH),
    )  # fmt: skip


def _vectorised(name: str, numel: int, elements: float, registers: int = 18) -> _Launch:
    """[T] elementwise on contiguous tensors: four elements a thread."""
    return _kernel(
        f"vectorized_elementwise_kernel<4> {name}", _ceil(numel, 512), 128, registers,
        work=Work(bytes=FLOAT * elements, memory_efficiency=VECTORISED_BANDWIDTH),
    )  # fmt: skip


def _unary(registers: int) -> Callable[[LayerOp, Device], Iterator[_Launch]]:
    def family(op: LayerOp, _device: Device) -> Iterator[_Launch]:
        yield _vectorised(op.name, op.numel, 2 * op.numel, registers)

    return family


def _binary(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    sizes = [math.prod(shape) for shape in op.inputs]
    if len(sizes) < 2 or sizes[0] == sizes[1]:
        yield _vectorised(op.name, op.numel, sum(sizes) + op.numel, 22)  # [A] registers
    else:
        yield _strided(f"elementwise_kernel<128, 2> {op.name}", op.numel, sum(sizes) + op.numel)


def _batch_norm(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    # [A] cuDNN's inference kernel is bound by memory like any elementwise one.
    yield _kernel(
        "bn_fw_inf_1C11_kernel_NCHW", _ceil(op.numel, 2048), 512, 32,
        work=Work(bytes=2.0 * FLOAT * op.numel, memory_efficiency=VECTORISED_BANDWIDTH),
    )  # fmt: skip


def _group_norm(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    groups = 32  # of every group norm in torchvision's detectors
    yield _kernel(
        "RowwiseMomentsCUDAKernel", op.output[0] * groups, 512, 38,
        work=Work(bytes=FLOAT * op.numel, memory_efficiency=STRIDED_BANDWIDTH),
    )  # fmt: skip
    pairs = op.output[0] * op.output[1]
    yield _strided("ComputeFusedParamsCUDAKernel", pairs, 4 * pairs, 24)
    yield _strided("elementwise_kernel<128, 2> group_norm", op.numel, 2 * op.numel)


def _layer_norm(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    rows = op.numel // op.output[-1]
    yield _kernel(
        "vectorized_layer_norm_kernel", rows, (32, 4), 40, shared=32,
        work=Work(bytes=2.0 * FLOAT * op.numel, memory_efficiency=STRIDED_BANDWIDTH),
    )  # fmt: skip


def _softmax(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    rows = op.numel // op.output[-1]
    yield _kernel(
        "softmax_warp_forward", _ceil(rows, 8), (32, 4), 32,
        work=Work(bytes=2.0 * FLOAT * op.numel, memory_efficiency=VECTORISED_BANDWIDTH),
    )  # fmt: skip


def _max_pool(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    # [T] one thread an output; the indices, of 8 bytes, are written too.
    moved = FLOAT * (math.prod(op.inputs[0]) + op.numel) + 8.0 * op.numel
    yield _kernel(
        "max_pool_forward_nchw", _ceil(op.numel, 256), 256, 26,
        work=Work(bytes=moved, memory_efficiency=POOL_BANDWIDTH),
    )  # fmt: skip


def _average_pool(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    moved = FLOAT * (math.prod(op.inputs[0]) + op.numel)
    if op.name.startswith("_adaptive"):
        grid, block, registers = op.output[0] * op.output[1] * 4, (32, 8), 38  # [T]
        efficiency = ADAPTIVE_POOL_BANDWIDTH
    else:
        grid, block, registers = _ceil(op.numel, 256), (256, 1), 32  # [A]
        efficiency = POOL_BANDWIDTH
    yield _kernel(op.name.strip("_"), grid, block, registers,
                  work=Work(bytes=moved, memory_efficiency=efficiency))  # fmt: skip


def _reduce(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    # [A] a warp row per output, four rows of outputs a block.
    read = math.prod(op.inputs[0])
    yield _kernel(
        f"reduce_kernel<512> {op.name}", _ceil(op.numel, 4), (32, 16), 32,
        work=Work(bytes=FLOAT * (read + op.numel), memory_efficiency=STRIDED_BANDWIDTH),
    )  # fmt: skip


def _product(op: LayerOp, device: Device) -> Iterator[_Launch]:
    first, second = op.inputs[-2], op.inputs[-1]
    batches = first[0] if len(first) == 3 else 1
    m, k, n = first[-2], first[-1], second[-1]
    moved = FLOAT * (math.prod(first) + math.prod(second) + op.numel)
    if m <= 4 and batches == 1:
        # [A] a product with so few rows is a matrix-vector one, bound by reading the matrix.
        yield _kernel(
            "gemv2T_kernel", (_ceil(n, 4), m), 128, 64, shared=1024,
            work=Work(flops=2.0 * m * n * k, bytes=moved, memory_efficiency=STRIDED_BANDWIDTH),
        )  # fmt: skip
    else:
        yield _fastest(_GEMMS, device, m=m, n=n, k=k, batches=batches, moved=moved)
    if op.name == "addmm":
        yield _kernel(
            "epilogue::globalKernel", (_ceil(n, 32), _ceil(m, 32)), (32, 16), 23,
            work=Work(bytes=2.0 * FLOAT * op.numel, memory_efficiency=STRIDED_BANDWIDTH),
        )  # fmt: skip  # [T]


def _copy(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    yield _strided(f"elementwise_kernel<128, 2> {op.name}", op.numel, 2 * op.numel, 32)


def _cat(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    # [A] one row of the grid an input, four elements a thread, at most two waves' worth.
    inputs = max(len(op.inputs), 1)
    yield _kernel(
        "CatArrayBatchedCopy", (_ceil(op.numel / inputs, 2048), inputs), 512, 40,
        work=Work(bytes=2.0 * FLOAT * op.numel, memory_efficiency=STRIDED_BANDWIDTH),
    )  # fmt: skip


def _sort(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    # [A] the top k of a detector's scores: radix passes over all of them.
    read = math.prod(op.inputs[0])
    for part in ("radixFindKthValues", "gatherTopK"):
        yield _kernel(
            part, _ceil(read, 8192), 512, 40, shared=4096,
            work=Work(bytes=2.0 * FLOAT * read, memory_efficiency=0.4),
        )  # fmt: skip


def _roi_align(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    # [A] one thread an output, which reads sixteen values.
    yield _kernel(
        "roi_align_forward_kernel", _ceil(op.numel, 512), 512, 48,
        work=Work(bytes=5.0 * FLOAT * op.numel, memory_efficiency=0.5),
    )  # fmt: skip


def _nms(op: LayerOp, _device: Device) -> Iterator[_Launch]:
    # [A] 64 boxes against 64 boxes a block.
    tiles = _ceil(op.output[0], 64)
    yield _kernel(
        "nms_kernel_impl", (tiles, tiles), 64, 40, shared=1280,
        work=Work(flops=16.0 * (64 * tiles) ** 2, bytes=16.0 * op.output[0],
                  compute_efficiency=0.2),
    )  # fmt: skip


_FAMILIES: dict[str, Callable[[LayerOp, Device], Iterator[_Launch]]] = {
    "convolution": _convolution,
    "native_batch_norm": _batch_norm,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "_softmax": _softmax,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _average_pool,
    "_adaptive_avg_pool2d": _average_pool,
    "mean": _reduce,
    "linalg_vector_norm": _reduce,
    "addmm": _product,
    "mm": _product,
    "bmm": _product,
    "clone": _copy,
    "index": _copy,
    "upsample_nearest2d": _copy,
    "cat": _cat,
    "topk": _sort,
    "nms": _nms,
    "roi_align": _roi_align,
    **dict.fromkeys(("relu", "hardtanh", "clamp_min"), _unary(18)),  # [T] clamp
    **dict.fromkeys(("hardswish", "hardsigmoid", "sigmoid", "silu", "tanh"), _unary(24)),  # [A]
    "gelu": _unary(32),  # [A]
    **dict.fromkeys(("add", "mul", "div", "sub"), _binary),
}
