"""Which kernels an operator launches: the families of eager PyTorch in FP32.

Marked [T]: launch configuration read off the real trace (see `timing`). Marked [A]: assumed, by
analogy to those or from PyTorch's published launch bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from roomie.devices import Device
from roomie.profiles import Kernel
from roomie.synthetic.launches import FLOAT, Launch, blocks_for, kernel_launch, timed
from roomie.synthetic.layers import LayerOp, Shape
from roomie.synthetic.tiles import CONVOLUTIONS, DIRECT_CONVOLUTIONS, GEMMS, fastest
from roomie.synthetic.timing import Work

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
    return tuple(timed(launch, device) for launch in family(op, device))


def _convolution(op: LayerOp, device: Device) -> Iterator[Launch]:
    source, weight = op.inputs[0], op.inputs[1]
    batch, channels = source[0], source[1]
    filters, per_group = weight[0], weight[1]
    window = math.prod(weight[2:])
    pixels = math.prod(op.output[2:])
    moved = FLOAT * (math.prod(source) + math.prod(weight) + op.numel)
    if op.groups == channels and per_group == 1 and op.groups > 1:
        # [A] PyTorch's own depthwise kernel: one thread an output, bound by memory.
        yield kernel_launch(
            "conv_depthwise2d_forward", blocks_for(op.numel, 256), 256, 40,
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
        yield fastest(
            CONVOLUTIONS if tensor_cores else DIRECT_CONVOLUTIONS,
            device,
            m=batch * pixels,
            n=filters // op.groups,
            k=per_group * window,
            batches=op.groups,
            moved=moved,
        )
    if op.bias:
        yield _strided("elementwise_kernel<128, 2> add", op.numel, 2 * op.numel)


def _to_nhwc(shape: Shape) -> Launch:
    """[T] the transposition in front of a convolution on tensor cores."""
    pixels = math.prod(shape[2:])
    return kernel_launch(
        "nchwToNhwcKernel", (blocks_for(pixels, 32), blocks_for(shape[1], 32), shape[0]), 256, 32,
        shared=4224,
        work=Work(bytes=2.0 * FLOAT * math.prod(shape), memory_efficiency=TRANSPOSE_BANDWIDTH),
    )  # fmt: skip


def _strided(name: str, numel: int, elements: float, registers: int = 40) -> Launch:
    """[T] elementwise with broadcast or strides: two elements a thread."""
    return kernel_launch(
        name, blocks_for(numel, 256), 128, registers,
        work=Work(bytes=FLOAT * elements, memory_efficiency=STRIDED_BANDWIDTH),
    )  # fmt: skip


def _vectorised(name: str, numel: int, elements: float, registers: int = 18) -> Launch:
    """[T] elementwise on contiguous tensors: four elements a thread."""
    return kernel_launch(
        f"vectorized_elementwise_kernel<4> {name}", blocks_for(numel, 512), 128, registers,
        work=Work(bytes=FLOAT * elements, memory_efficiency=VECTORISED_BANDWIDTH),
    )  # fmt: skip


def _unary(registers: int) -> Callable[[LayerOp, Device], Iterator[Launch]]:
    def family(op: LayerOp, _device: Device) -> Iterator[Launch]:
        yield _vectorised(op.name, op.numel, 2 * op.numel, registers)

    return family


def _binary(op: LayerOp, _device: Device) -> Iterator[Launch]:
    sizes = [math.prod(shape) for shape in op.inputs]
    if len(sizes) < 2 or sizes[0] == sizes[1]:
        yield _vectorised(op.name, op.numel, sum(sizes) + op.numel, 22)  # [A] registers
    else:
        yield _strided(f"elementwise_kernel<128, 2> {op.name}", op.numel, sum(sizes) + op.numel)


def _batch_norm(op: LayerOp, _device: Device) -> Iterator[Launch]:
    # [A] cuDNN's inference kernel is bound by memory like any elementwise one.
    yield kernel_launch(
        "bn_fw_inf_1C11_kernel_NCHW", blocks_for(op.numel, 2048), 512, 32,
        work=Work(bytes=2.0 * FLOAT * op.numel, memory_efficiency=VECTORISED_BANDWIDTH),
    )  # fmt: skip


def _group_norm(op: LayerOp, _device: Device) -> Iterator[Launch]:
    groups = 32  # of every group norm in torchvision's detectors
    yield kernel_launch(
        "RowwiseMomentsCUDAKernel", op.output[0] * groups, 512, 38,
        work=Work(bytes=FLOAT * op.numel, memory_efficiency=STRIDED_BANDWIDTH),
    )  # fmt: skip
    pairs = op.output[0] * op.output[1]
    yield _strided("ComputeFusedParamsCUDAKernel", pairs, 4 * pairs, 24)
    yield _strided("elementwise_kernel<128, 2> group_norm", op.numel, 2 * op.numel)


def _layer_norm(op: LayerOp, _device: Device) -> Iterator[Launch]:
    rows = op.numel // op.output[-1]
    yield kernel_launch(
        "vectorized_layer_norm_kernel", rows, (32, 4), 40, shared=32,
        work=Work(bytes=2.0 * FLOAT * op.numel, memory_efficiency=STRIDED_BANDWIDTH),
    )  # fmt: skip


def _softmax(op: LayerOp, _device: Device) -> Iterator[Launch]:
    rows = op.numel // op.output[-1]
    yield kernel_launch(
        "softmax_warp_forward", blocks_for(rows, 8), (32, 4), 32,
        work=Work(bytes=2.0 * FLOAT * op.numel, memory_efficiency=VECTORISED_BANDWIDTH),
    )  # fmt: skip


def _max_pool(op: LayerOp, _device: Device) -> Iterator[Launch]:
    # [T] one thread an output; the indices, of 8 bytes, are written too.
    moved = FLOAT * (math.prod(op.inputs[0]) + op.numel) + 8.0 * op.numel
    yield kernel_launch(
        "max_pool_forward_nchw", blocks_for(op.numel, 256), 256, 26,
        work=Work(bytes=moved, memory_efficiency=POOL_BANDWIDTH),
    )  # fmt: skip


def _average_pool(op: LayerOp, _device: Device) -> Iterator[Launch]:
    moved = FLOAT * (math.prod(op.inputs[0]) + op.numel)
    if op.name.startswith("_adaptive"):
        grid, block, registers = op.output[0] * op.output[1] * 4, (32, 8), 38  # [T]
        efficiency = ADAPTIVE_POOL_BANDWIDTH
    else:
        grid, block, registers = blocks_for(op.numel, 256), (256, 1), 32  # [A]
        efficiency = POOL_BANDWIDTH
    yield kernel_launch(op.name.strip("_"), grid, block, registers,
                  work=Work(bytes=moved, memory_efficiency=efficiency))  # fmt: skip


def _reduce(op: LayerOp, _device: Device) -> Iterator[Launch]:
    # [A] a warp row per output, four rows of outputs a block.
    read = math.prod(op.inputs[0])
    yield kernel_launch(
        f"reduce_kernel<512> {op.name}", blocks_for(op.numel, 4), (32, 16), 32,
        work=Work(bytes=FLOAT * (read + op.numel), memory_efficiency=STRIDED_BANDWIDTH),
    )  # fmt: skip


def _product(op: LayerOp, device: Device) -> Iterator[Launch]:
    first, second = op.inputs[-2], op.inputs[-1]
    batches = first[0] if len(first) == 3 else 1
    m, k, n = first[-2], first[-1], second[-1]
    moved = FLOAT * (math.prod(first) + math.prod(second) + op.numel)
    if m <= 4 and batches == 1:
        # [A] a product with so few rows is a matrix-vector one, bound by reading the matrix.
        yield kernel_launch(
            "gemv2T_kernel", (blocks_for(n, 4), m), 128, 64, shared=1024,
            work=Work(flops=2.0 * m * n * k, bytes=moved, memory_efficiency=STRIDED_BANDWIDTH),
        )  # fmt: skip
    else:
        yield fastest(GEMMS, device, m=m, n=n, k=k, batches=batches, moved=moved)
    if op.name == "addmm":
        yield kernel_launch(
            "epilogue::globalKernel", (blocks_for(n, 32), blocks_for(m, 32)), (32, 16), 23,
            work=Work(bytes=2.0 * FLOAT * op.numel, memory_efficiency=STRIDED_BANDWIDTH),
        )  # fmt: skip  # [T]


def _copy(op: LayerOp, _device: Device) -> Iterator[Launch]:
    yield _strided(f"elementwise_kernel<128, 2> {op.name}", op.numel, 2 * op.numel, 32)


def _cat(op: LayerOp, _device: Device) -> Iterator[Launch]:
    # [A] one row of the grid an input, four elements a thread, at most two waves' worth.
    inputs = max(len(op.inputs), 1)
    yield kernel_launch(
        "CatArrayBatchedCopy", (blocks_for(op.numel / inputs, 2048), inputs), 512, 40,
        work=Work(bytes=2.0 * FLOAT * op.numel, memory_efficiency=STRIDED_BANDWIDTH),
    )  # fmt: skip


def _sort(op: LayerOp, _device: Device) -> Iterator[Launch]:
    # [A] the top k of a detector's scores: radix passes over all of them.
    read = math.prod(op.inputs[0])
    for part in ("radixFindKthValues", "gatherTopK"):
        yield kernel_launch(
            part, blocks_for(read, 8192), 512, 40, shared=4096,
            work=Work(bytes=2.0 * FLOAT * read, memory_efficiency=0.4),
        )  # fmt: skip


def _roi_align(op: LayerOp, _device: Device) -> Iterator[Launch]:
    # [A] one thread an output, which reads sixteen values.
    yield kernel_launch(
        "roi_align_forward_kernel", blocks_for(op.numel, 512), 512, 48,
        work=Work(bytes=5.0 * FLOAT * op.numel, memory_efficiency=0.5),
    )  # fmt: skip


def _nms(op: LayerOp, _device: Device) -> Iterator[Launch]:
    # [A] 64 boxes against 64 boxes a block.
    tiles = blocks_for(op.output[0], 64)
    yield kernel_launch(
        "nms_kernel_impl", (tiles, tiles), 64, 40, shared=1280,
        work=Work(flops=16.0 * (64 * tiles) ** 2, bytes=16.0 * op.output[0],
                  compute_efficiency=0.2),
    )  # fmt: skip


_FAMILIES: dict[str, Callable[[LayerOp, Device], Iterator[Launch]]] = {
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
