"""Each operation that is known, run from a package and held against torch or its definition."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.coreml import import_coremltools
from coreml_export.interpreter import compressed
from coreml_export.interpreter.program import KERNELS, Program

X = torch.linspace(-2, 2.2, 48).reshape(2, 3, 2, 4)
Y = torch.linspace(3, 0.5, 48).reshape(2, 3, 2, 4)
UNIT = X / 3

ONE = {
    "abs": torch.abs,
    "atan": torch.atan,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "identity": lambda x: x,
    "relu": torch.relu,
    "relu6": F.relu6,
    "round": torch.round,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": F.silu,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
OF_A_UNIT = {"acos": torch.acos, "asin": torch.asin, "atanh": torch.atanh}
TWO = {
    "add": torch.add,
    "floor_div": torch.floor_divide,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,
    "mul": torch.mul,
    "real_div": torch.div,
    "sub": torch.sub,
}
COMPARED = {
    "equal": torch.eq,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "not_equal": torch.ne,
}
LOGICAL = {
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
}
REDUCED = {
    "reduce_l1_norm": lambda x, axes: x.abs().sum(axes),
    "reduce_l2_norm": lambda x, axes: torch.linalg.vector_norm(x, dim=axes),
    "reduce_log_sum_exp": torch.logsumexp,
    "reduce_max": torch.amax,
    "reduce_mean": torch.mean,
    "reduce_min": torch.amin,
    "reduce_prod": lambda x, axes: x.prod(axes[1]).prod(axes[0]),
    "reduce_sum": torch.sum,
    "reduce_sum_square": lambda x, axes: x.square().sum(axes),
}

W = torch.linspace(-1, 1, 5 * 3 * 2 * 2).reshape(5, 3, 2, 2)
BIAS = torch.linspace(0, 1, 5)
GAMMA = torch.linspace(0.5, 2, 4)
MATRIX = torch.linspace(-1, 1, 24).reshape(6, 4)
TABLE = torch.linspace(-1, 1, 15).reshape(5, 3)
PLACES = torch.tensor([[4, 0, 2], [1, 1, 3]])
GROUPED = torch.linspace(-1, 1, 6 * 1 * 1 * 1).reshape(6, 1, 1, 1)


def mean_and_variance(x, axes):
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-3).sqrt()


def cases():
    """Name each case: what builds it from MIL's builder and three inputs, and what it gives."""
    made = {}
    for name, function in ONE.items():
        made[name] = (lambda mb, x, y, u, n=name: getattr(mb, n)(x=x), function(X))
    for name, function in OF_A_UNIT.items():
        made[name] = (lambda mb, x, y, u, n=name: getattr(mb, n)(x=u), function(UNIT))
    for name, function in TWO.items():
        made[name] = (lambda mb, x, y, u, n=name: getattr(mb, n)(x=x, y=y), function(X, Y))
    for name, function in COMPARED.items():
        made[name] = (
            lambda mb, x, y, u, n=name: mb.cast(x=getattr(mb, n)(x=x, y=y), dtype="fp32"),
            function(X, Y).float(),
        )
    for name, function in LOGICAL.items():
        made[name] = (
            lambda mb, x, y, u, n=name: mb.cast(
                x=getattr(mb, n)(x=mb.cast(x=mb.relu(x=x), dtype="bool"), y=mb.less(x=x, y=y)),
                dtype="fp32",
            ),
            function(X > 0, X < Y).float(),
        )
    for name, function in REDUCED.items():
        made[name] = (
            lambda mb, x, y, u, n=name: getattr(mb, n)(x=x, axes=[1, -1], keep_dims=False),
            function(X, (1, 3)),
        )
    return made | {
        # Numbers one by one.
        "cast to whole numbers": (lambda mb, x, y, u: mb.cast(x=x, dtype="int32"), X.int()),
        "cast to truths": (
            lambda mb, x, y, u: mb.cast(x=mb.cast(x=mb.floor(x=x), dtype="bool"), dtype="fp32"),
            X.floor().bool().float(),
        ),
        "logical_not": (
            lambda mb, x, y, u: mb.cast(x=mb.logical_not(x=mb.less(x=x, y=y)), dtype="fp32"),
            (X >= Y).float(),
        ),
        "clip": (lambda mb, x, y, u: mb.clip(x=x, alpha=-0.5, beta=1.0), X.clamp(-0.5, 1)),
        "elu": (lambda mb, x, y, u: mb.elu(x=x, alpha=0.7), F.elu(X, 0.7)),
        "leaky_relu": (lambda mb, x, y, u: mb.leaky_relu(x=x, alpha=0.2), F.leaky_relu(X, 0.2)),
        "threshold": (lambda mb, x, y, u: mb.threshold(x=x, alpha=0.3), X.clamp(min=0.3)),
        "gelu": (lambda mb, x, y, u: mb.gelu(x=x, mode="EXACT"), F.gelu(X)),
        "gelu by tanh": (
            lambda mb, x, y, u: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
            F.gelu(X, approximate="tanh"),
        ),
        "gelu by sigmoid": (
            lambda mb, x, y, u: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"),
            X * torch.sigmoid(1.702 * X),
        ),
        "pow": (lambda mb, x, y, u: mb.pow(x=y, y=1.5), Y**1.5),
        "sqrt": (lambda mb, x, y, u: mb.sqrt(x=y), Y.sqrt()),
        "log": (lambda mb, x, y, u: mb.log(x=y, epsilon=0.5), (Y + 0.5).log()),
        "rsqrt": (lambda mb, x, y, u: mb.rsqrt(x=y, epsilon=0.25), (Y + 0.25).rsqrt()),
        "inverse": (lambda mb, x, y, u: mb.inverse(x=y, epsilon=0.25), 1 / (Y + 0.25)),
        "select": (
            lambda mb, x, y, u: mb.select(cond=mb.less(x=x, y=0.0), a=x, b=y),
            torch.where(X < 0, X, Y),
        ),
        # Axes together.
        "reduce over all": (lambda mb, x, y, u: mb.reduce_sum(x=x), X.sum().reshape(())),
        "reduce and keep": (
            lambda mb, x, y, u: mb.reduce_mean(x=x, axes=[1], keep_dims=True),
            X.mean(1, keepdim=True),
        ),
        "reduce_log_sum": (
            lambda mb, x, y, u: mb.reduce_log_sum(x=y, axes=[2], keep_dims=False),
            Y.sum(2).log(),
        ),
        "reduce_argmax": (
            lambda mb, x, y, u: mb.reduce_argmax(x=mb.sin(x=y), axis=3, keep_dims=False),
            Y.sin().argmax(3).int(),
        ),
        "reduce_argmin": (
            lambda mb, x, y, u: mb.reduce_argmin(x=y, axis=1, keep_dims=True),
            Y.argmin(1, keepdim=True).int(),
        ),
        "cumsum": (
            lambda mb, x, y, u: mb.cumsum(x=x, axis=3, exclusive=False, reverse=False),
            X.cumsum(3),
        ),
        "cumsum backwards": (
            lambda mb, x, y, u: mb.cumsum(x=x, axis=3, exclusive=True, reverse=True),
            X.flip(3).cumsum(3).flip(3) - X,
        ),
        "argsort": (
            lambda mb, x, y, u: mb.argsort(x=mb.sin(x=y), axis=3, ascending=True),
            Y.sin().argsort(3).int(),
        ),
        "topk": (lambda mb, x, y, u: mb.topk(x=y, k=2, axis=1)[0], Y.topk(2, dim=1).values),
        "topk, places": (
            lambda mb, x, y, u: mb.topk(x=y, k=2, axis=1, ascending=True)[1],
            Y.topk(2, dim=1, largest=False).indices.int(),
        ),
        # Shapes.
        "reshape": (
            lambda mb, x, y, u: mb.reshape(x=x, shape=[0, -1, 2, 2]),
            X.reshape(2, 6, 2, 2),
        ),
        "transpose": (
            lambda mb, x, y, u: mb.transpose(x=x, perm=[3, 0, -2, 1]),
            X.permute(3, 0, 2, 1),
        ),
        "expand_dims": (
            lambda mb, x, y, u: mb.expand_dims(x=mb.reduce_sum(x=x, axes=[0, 1]), axes=[-1, 0]),
            X.sum((0, 1))[None, :, :, None],
        ),
        "squeeze": (
            lambda mb, x, y, u: mb.squeeze(
                x=mb.reduce_sum(x=x, axes=[0, 3], keep_dims=True), axes=[3]
            ),
            X.sum((0, 3), keepdim=True).squeeze(3),
        ),
        "squeeze all": (
            lambda mb, x, y, u: mb.squeeze(x=mb.reduce_sum(x=x, axes=[0, 3], keep_dims=True)),
            X.sum((0, 3)),
        ),
        "concat": (
            lambda mb, x, y, u: mb.concat(values=[x, y, x], axis=-3),
            torch.cat([X, Y, X], 1),
        ),
        "concat, interleaved": (
            lambda mb, x, y, u: mb.concat(values=[x, y], axis=1, interleave=True),
            torch.stack([X, Y], 2).flatten(1, 2),
        ),
        "stack": (lambda mb, x, y, u: mb.stack(values=[x, y], axis=1), torch.stack([X, Y], 1)),
        "split": (
            lambda mb, x, y, u: mb.split(x=x, num_splits=3, axis=1)[2],
            X[:, 2:],
        ),
        "split unevenly": (
            lambda mb, x, y, u: mb.split(x=x, split_sizes=[1, 3], axis=-1)[1],
            X[..., 1:],
        ),
        "slice_by_index": (
            lambda mb, x, y, u: mb.slice_by_index(
                x=x,
                begin=[0, 2, 1, -1],
                end=[2, 0, 2, -4],
                stride=[1, -2, 1, -1],
                begin_mask=[True, False, False, False],
                end_mask=[False, True, True, False],
                squeeze_mask=[False, False, True, False],
            ),
            X[:, [2, 0]][:, :, 1].flip(2)[:, :, :3],
        ),
        "slice_by_size": (
            lambda mb, x, y, u: mb.slice_by_size(x=x, begin=[0, 1, 0, 1], size=[2, -1, 1, 2]),
            X[:, 1:, :1, 1:3],
        ),
        "gather": (
            lambda mb, x, y, u: mb.gather(x=x, indices=np.int32([[2, 0], [-1, 1]]), axis=1),
            X[:, [[2, 0], [-1, 1]]],
        ),
        "gather, batched": (
            lambda mb, x, y, u: mb.gather(
                x=x, indices=np.int32([[2, 0], [1, 1]]), axis=1, batch_dims=1
            ),
            torch.stack([X[0, [2, 0]], X[1, [1, 1]]]),
        ),
        "gather_along_axis": (
            lambda mb, x, y, u: mb.gather_along_axis(
                x=x, indices=np.int32([0, 2, -1]).repeat(16).reshape(2, 3, 2, 4), axis=1
            ),
            X.take_along_dim(torch.tensor([0, 2, 2]).repeat_interleave(16).reshape(2, 3, 2, 4), 1),
        ),
        "gather_nd": (
            lambda mb, x, y, u: mb.gather_nd(x=x, indices=np.int32([[1, 2], [0, 0]])),
            X[[1, 0], [2, 0]],
        ),
        "gather_nd, batched": (
            lambda mb, x, y, u: mb.gather_nd(x=x, indices=np.int32([[2, 1], [0, 0]]), batch_dims=1),
            torch.stack([X[0, 2, 1], X[1, 0, 0]]),
        ),
        "tile": (lambda mb, x, y, u: mb.tile(x=x, reps=[1, 2, 1, 3]), X.repeat(1, 2, 1, 3)),
        "pad": (
            lambda mb, x, y, u: mb.pad(x=x, pad=[1, 0, 0, 2], mode="constant", constant_val=0.5),
            F.pad(X, (0, 2, 1, 0), value=0.5),
        ),
        "pad with the rim": (
            lambda mb, x, y, u: mb.pad(x=x, pad=[0, 0, 1, 2], mode="replicate"),
            F.pad(X, (1, 2, 0, 0), mode="replicate"),
        ),
        "pad mirrored": (
            lambda mb, x, y, u: mb.pad(x=x, pad=[1, 0, 1, 2], mode="reflect"),
            F.pad(X, (1, 2, 1, 0), mode="reflect"),
        ),
        "shape": (lambda mb, x, y, u: mb.shape(x=x), torch.tensor(X.shape, dtype=torch.int32)),
        "fill": (
            lambda mb, x, y, u: mb.fill(shape=mb.shape(x=x), value=2.5),
            torch.full(X.shape, 2.5),
        ),
        "fill_like": (
            lambda mb, x, y, u: mb.fill_like(ref_tensor=x, value=7),
            torch.full(X.shape, 7, dtype=torch.int32),
        ),
        "one_hot": (
            lambda mb, x, y, u: mb.one_hot(
                indices=mb.cast(x=mb.relu(x=x), dtype="int32"),
                one_hot_vector_size=3,
                axis=1,
                on_value=2.0,
                off_value=-1.0,
            ),
            F.one_hot(X.relu().long(), 3).movedim(-1, 1) * 3.0 - 1,
        ),
        "range_1d": (
            lambda mb, x, y, u: mb.range_1d(
                start=1,
                end=mb.squeeze(x=mb.slice_by_size(x=mb.shape(x=x), begin=[3], size=[1])),
                step=2,
            ),
            torch.tensor([1, 3], dtype=torch.int32),
        ),
        "band_part": (lambda mb, x, y, u: mb.band_part(x=x, lower=0, upper=1), X.triu().tril(1)),
        "reverse": (lambda mb, x, y, u: mb.reverse(x=x, axes=[1, 3]), X.flip(1, 3)),
        # Layers.
        "conv": (
            lambda mb, x, y, u: mb.conv(
                x=x,
                weight=W.numpy(),
                bias=BIAS.numpy(),
                strides=[1, 2],
                pad_type="custom",
                pad=[1, 1, 0, 1],
                dilations=[2, 1],
            ),
            F.conv2d(F.pad(X, (0, 1, 1, 1)), W, BIAS, stride=(1, 2), dilation=(2, 1)),
        ),
        "conv in groups": (
            lambda mb, x, y, u: mb.conv(x=x, weight=GROUPED.numpy(), pad_type="valid", groups=3),
            F.conv2d(X, GROUPED, groups=3),
        ),
        "conv in one dimension": (
            lambda mb, x, y, u: mb.conv(
                x=mb.reshape(x=x, shape=[2, 3, 8]),
                weight=W[..., 0].numpy(),
                pad=[1, 1],
                pad_type="custom",
            ),
            F.conv1d(X.reshape(2, 3, 8), W[..., 0], padding=1),
        ),
        "linear": (
            lambda mb, x, y, u: mb.linear(
                x=mb.reshape(x=x, shape=[2, 6, 4]), weight=MATRIX.numpy(), bias=MATRIX[:, 0].numpy()
            ),
            F.linear(X.reshape(2, 6, 4), MATRIX, MATRIX[:, 0]),
        ),
        "matmul": (
            lambda mb, x, y, u: mb.matmul(x=x, y=y, transpose_y=True),
            X @ Y.mT,
        ),
        "matmul, the first turned": (
            lambda mb, x, y, u: mb.matmul(x=x, y=y, transpose_x=True),
            X.mT @ Y,
        ),
        "einsum": (
            lambda mb, x, y, u: mb.einsum(
                values=(x, mb.transpose(x=y, perm=[0, 3, 2, 1])), equation="nchw,nwhu->nchu"
            ),
            torch.einsum("nchw,nuhw->nchu", X, Y),
        ),
        "softmax": (lambda mb, x, y, u: mb.softmax(x=x, axis=1), X.softmax(1)),
        "layer_norm": (
            lambda mb, x, y, u: mb.layer_norm(
                x=x, axes=[-1], gamma=GAMMA.numpy(), beta=GAMMA.numpy(), epsilon=1e-3
            ),
            mean_and_variance(X, (3,)) * GAMMA + GAMMA,
        ),
        "layer_norm over channels": (
            lambda mb, x, y, u: mb.layer_norm(
                x=x, axes=[1], gamma=GAMMA[:3].numpy(), beta=GAMMA[:3].numpy(), epsilon=1e-3
            ),
            mean_and_variance(X, (1,)) * GAMMA[:3, None, None] + GAMMA[:3, None, None],
        ),
        "instance_norm": (
            lambda mb, x, y, u: mb.instance_norm(
                x=x, gamma=GAMMA[:3].numpy(), beta=GAMMA[1:].numpy(), epsilon=1e-3
            ),
            mean_and_variance(X, (2, 3)) * GAMMA[:3, None, None] + GAMMA[1:, None, None],
        ),
        "batch_norm": (
            lambda mb, x, y, u: mb.batch_norm(
                x=x,
                mean=GAMMA[:3].numpy(),
                variance=GAMMA[:3].square().numpy(),
                gamma=GAMMA[1:].numpy(),
                beta=GAMMA[:3].numpy(),
                epsilon=1e-3,
            ),
            F.batch_norm(
                X, GAMMA[:3], GAMMA[:3].square(), GAMMA[1:], GAMMA[:3], training=False, eps=1e-3
            ),
        ),
        "upsample_nearest_neighbor": (
            lambda mb, x, y, u: mb.upsample_nearest_neighbor(
                x=x, scale_factor_height=2.0, scale_factor_width=1.5
            ),
            X.repeat_interleave(2, 2)[..., [0, 0, 1, 2, 2, 3]],
        ),
        "upsample_bilinear": (
            lambda mb, x, y, u: mb.upsample_bilinear(
                x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False
            ),
            F.interpolate(X, scale_factor=(2, 3), mode="bilinear", align_corners=False),
        ),
        "resize_nearest_neighbor": (
            lambda mb, x, y, u: mb.resize_nearest_neighbor(
                x=x, target_size_height=4, target_size_width=2
            ),
            X.repeat_interleave(2, 2)[..., ::2],
        ),
    }


CASES = cases()


@pytest.fixture(scope="module")
def program(ct, build, save):
    mb = import_coremltools("coremltools.converters.mil").Builder

    def body(x, y, unit):
        return [
            mb.identity(x=make(mb, x, y, unit), name=f"case_{index}")
            for index, (make, _) in enumerate(CASES.values())
        ]

    return Program.read(save(build(body, [X.shape] * 3)))


@pytest.fixture(scope="module")
def results(program):
    names = (item.name for item in program.inputs)
    outputs = program.run(dict(zip(names, (X, Y, UNIT), strict=True)))
    return {name: outputs[f"case_{index}"] for index, name in enumerate(CASES)}


@pytest.mark.parametrize("name", CASES)
def test_an_operation_gives_what_its_definition_says(results, name):
    torch.testing.assert_close(results[name], CASES[name][1])


def test_every_operation_has_a_case(program):
    elsewhere = {*compressed.KERNELS, "scaled_dot_product_attention"}
    assert set(KERNELS) - elsewhere <= set(program.op_types)


def test_attention_weighs_the_values_by_the_keys(ct, build, save):
    mb = import_coremltools("coremltools.converters.mil").Builder
    mask = torch.tensor([[0.0, -1.0], [0.0, -30000.0]])

    def body(query, key, value):
        return mb.scaled_dot_product_attention(
            query=query, key=key, value=value, attn_mask=mask.numpy()
        )

    program = Program.read(save(build(body, [X.shape] * 3, target="iOS18")))
    (result,) = program.run(
        dict(zip((item.name for item in program.inputs), (X, Y, UNIT), strict=True))
    ).values()
    expected = (X @ Y.mT / 2 + mask).softmax(-1) @ UNIT
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", None), ("uint8", 10)])
def test_numbers_are_quantised_while_a_program_runs(ct, build, save, dtype, zero_point):
    mb = import_coremltools("coremltools.converters.mil").Builder
    scale = np.float32([0.01, 0.02, 0.004])
    shift = {}
    if zero_point is not None:
        shift["zero_point"] = np.full(3, zero_point, dtype)

    def body(x):
        whole = mb.quantize(input=x, scale=scale, axis=1, output_dtype=dtype, **shift)
        return mb.dequantize(input=whole, scale=scale, axis=1, **shift)

    program = Program.read(save(build(body, [X.shape], target="iOS17")))
    (result,) = program.run({"x": X}).values()
    limits, step = np.iinfo(dtype), torch.from_numpy(scale)[:, None, None]
    whole = ((X / step).round() + (zero_point or 0)).clamp(limits.min, limits.max)
    torch.testing.assert_close(result, (whole - (zero_point or 0)) * step)
