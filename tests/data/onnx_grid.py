"""The grid of `onnx_cases.py`: operators at the ends of their types, with ONNX Runtime's results.

Each case is a graph of one node, or a few, over inputs that have numbers far from zero, infinities, ties and sizes that do
not divide. Cases that ONNX Runtime does not run are left out.
"""

import itertools

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# What ONNX's own tests use.
RTOL, ATOL = 1e-3, 1e-7

# tract computes Sigmoid and Tanh by one fraction of polynomials in 32-bit floats: right to five roundings of 1,
# 5 * 2**-23 or 6e-7, however small the result. Gates are sums of two such factors; Gelu has half of one, times its
# input, of up to 40 here; Mish loses the last bits of a small one.
# The attention's expected values come from numpy's 16-bit floats, two roundings of 2**-12 from the exact ones, and tract's
# are one rounding away on the other side.
SLACK = {"test_attention_4d_causal_fp16_expanded": 2.5e-4, "Sigmoid": 6e-7, "test_gru": 1.2e-6, "gru": 1.2e-6, "lstm": 1.2e-6, "rnn": 1.2e-6, "Mish": 1e-6, "Gelu_tanh": 1.2e-5}


def absolute(name, atol=ATOL):
    """The absolute tolerance of a case."""
    return max([atol] + [slack for start, slack in SLACK.items() if name.startswith(start)])


FLOATS = [np.float32, np.float64, np.float16]
INTS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


def one(op, inputs, outputs=1, constants=(), opset=18, **attributes):
    """A model of one node, its name, and its inputs. Inputs at the places in `constants` are weights."""
    names = [f"x{i}" if value is not None else "" for i, value in enumerate(inputs)]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], **attributes)
    weights = [numpy_helper.from_array(inputs[i], names[i]) for i in constants]
    fed = {names[i]: v for i, v in enumerate(inputs) if v is not None and i not in constants}
    graph = helper.make_graph(
        [node], "grid",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in fed.items()],
        [helper.make_empty_tensor_value_info(f"y{i}") for i in range(outputs)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), fed


def floats(dtype):
    far = [0.0, -0.0, 1e-3, -1e-3, 0.5, -0.5, 1.5, 2.5, -2.5, 3, -7, 15, -15, 40, -40, 88, -88, 104, -104, 700, -700, 3e4, -3e4]
    if dtype != np.float16:
        far += [1e5, -1e5, 1e15, -1e15, 1e30, -1e30, 1e-30, 1e-38]
    return np.array(far, dtype)


def odd(dtype):
    return np.array([np.inf, -np.inf, np.nan, 1, -1, 0], dtype)


def ints(dtype):
    info = np.iinfo(dtype)
    return np.array([0, 1, 2, 3, 7, 100, info.max, info.max - 1, info.min, info.min + 1, info.max // 2, info.max // 3], dtype)


UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor HardSwish IsNaN IsInf Log Mish Neg Reciprocal Relu Round "
    "Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh Elu Selu Celu LeakyRelu HardSigmoid ThresholdedRelu Shrink "
    "Identity Softmax LogSoftmax Hardmax LpNormalization Not BitwiseNot"
).split()
BINARY = (
    "Add Sub Mul Div Pow Mod Equal Greater GreaterOrEqual Less LessOrEqual Max Min And Or Xor BitwiseAnd BitwiseOr BitwiseXor "
    "PRelu Mean Sum"
).split()
REDUCE = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
).split()


def elementwise():
    for op in UNARY:
        for dtype in FLOATS:
            x = floats(dtype)
            yield f"{op}_{dtype.__name__}_far", one(op, [x])
            yield f"{op}_{dtype.__name__}_odd", one(op, [odd(dtype)])
            yield f"{op}_{dtype.__name__}_rows", one(op, [x[:20].reshape(4, 5)])
            yield f"{op}_{dtype.__name__}_scalar", one(op, [x[9].reshape(())])
        for dtype in INTS:
            yield f"{op}_{dtype.__name__}", one(op, [ints(dtype)])
        yield f"{op}_bool", one(op, [np.array([True, False])])
    for op, dtype in itertools.product(["Gelu"], FLOATS):
        for how in ("none", "tanh"):
            near = floats(dtype)[np.abs(floats(dtype)) <= 40]
            yield f"{op}_{how}_{dtype.__name__}", one(op, [near], opset=20, approximate=how)
    for op in BINARY:
        for dtype in FLOATS:
            x = floats(dtype)
            extra = {"fmod": 1} if op == "Mod" else {}
            yield f"{op}_{dtype.__name__}_far", one(op, [x.reshape(-1, 1), x.reshape(1, -1)], **extra)
            yield f"{op}_{dtype.__name__}_odd", one(op, [odd(dtype).reshape(-1, 1), odd(dtype)], **extra)
            yield f"{op}_{dtype.__name__}_const", one(op, [x, x[4:5]], constants=[1], **extra)
            yield f"{op}_{dtype.__name__}_const_left", one(op, [x[4:5], x], constants=[0], **extra)
            yield f"{op}_{dtype.__name__}_zero", one(op, [x, np.zeros(1, dtype)], constants=[1], **extra)
            yield f"{op}_{dtype.__name__}_one", one(op, [x, np.ones(1, dtype)], constants=[1], **extra)
        for dtype in INTS:
            x = ints(dtype)
            divisors = np.array([3, 2, 1, 7, 100], dtype) if op in ("Div", "Mod") else x
            if op == "Pow":
                x, divisors = x[:4], x[:4]
            yield f"{op}_{dtype.__name__}", one(op, [x.reshape(-1, 1), divisors])
            for fmod in [1] * (op == "Mod"):
                yield f"{op}_{dtype.__name__}_fmod", one(op, [x.reshape(-1, 1), divisors], fmod=fmod)
            if np.iinfo(dtype).min < 0 and op in ("Div", "Mod"):
                signed = np.array([-3, -2, -7, 5], dtype), np.array([7, -7, 8, -8, 1, -1, 0], dtype)
                yield f"{op}_{dtype.__name__}_signs", one(op, [signed[1].reshape(-1, 1), signed[0]])
                for divisor in (2, -2, 4, 3):
                    yield f"{op}_{dtype.__name__}_by_{divisor}", one(op, [signed[1], np.array(divisor, dtype)], constants=[1])
        yield f"{op}_bool", one(op, [np.array([[True], [False]]), np.array([True, False])])
    for power, dtype in itertools.product([0, 1, 2, 3, -1, 0.5, -0.5, 2.5], [np.float32, np.float64, np.float16]):
        yield f"Pow_{power}_{dtype.__name__}", one("Pow", [floats(dtype), np.array(power, dtype)], constants=[1])
    for types in itertools.permutations([np.float32, np.int32, np.int64, np.float64], 2):
        base, power = np.array([1, 2, 3, 5], types[0]), np.array([0, 2, 3, 1], types[1])
        yield f"Pow_{types[0].__name__}_{types[1].__name__}", one("Pow", [base, power])
    for source, target in itertools.product([*FLOATS, *INTS, np.bool_], repeat=2):
        target_name = np.dtype(target).name
        if source in FLOATS:
            x = np.array([0, 0.5, -0.5, 1.5, -1.5, 2.5, 100.7, -100.7], source)
            x = x if np.dtype(target).kind != "u" else np.abs(x)
        else:
            x = np.array([True, False]) if source is np.bool_ else ints(source)
        yield f"Cast_{np.dtype(source).name}_{target_name}", one("Cast", [x], to=helper.np_dtype_to_tensor_dtype(np.dtype(target)))
    for dtype in [*FLOATS, *INTS]:
        x = floats(dtype) if dtype in FLOATS else ints(dtype)
        low, high = np.array(1, dtype), np.array(5, dtype)
        yield f"Clip_{np.dtype(dtype).name}", one("Clip", [x, low, high], constants=[1, 2])
        yield f"Clip_{np.dtype(dtype).name}_low", one("Clip", [x, low], constants=[1])
        yield f"Clip_{np.dtype(dtype).name}_high", one("Clip", [x, None, high], constants=[2])
        yield f"Clip_{np.dtype(dtype).name}_fed", one("Clip", [x, low, high])
        yield f"Clip_{np.dtype(dtype).name}_crossed", one("Clip", [x, high, low], constants=[1, 2])
    yield "Clip_odd", one("Clip", [odd(np.float32), np.float32(-2).reshape(()), np.float32(2).reshape(())], constants=[1, 2])


def reductions():
    for op in REDUCE + ["ArgMax", "ArgMin"]:
        for dtype in [*FLOATS, *INTS]:
            if dtype in FLOATS:
                x = np.array([[1, 2, 3, -4], [88, 89, 90, 91], [-88, -100, -200, -104], [5, 5, 5, 5], [1e3, 2e3, -1e3, 0]], dtype)
            else:
                # Sums stay in the type: what they are beyond is nobody's word.
                big = 2**40 if dtype in (np.int64, np.uint64) else np.iinfo(dtype).max // 32
                if op in ("ReduceProd", "ReduceSumSquare"):
                    big = 2 if op == "ReduceProd" else 2 ** (np.iinfo(dtype).bits // 4)
                x = np.array([[1, 2, 3, 4], [big, big, 1, 2], [7, 0, 7, 0], [9, 9, 9, 9], [big - 1, 3, 5, 8]], dtype)
            axes = [("last", -1), ("first", 0)] if op.startswith("Arg") else [("last", [1]), ("first", [0]), ("all", None), ("both", [0, 1])]
            for (place, axis), keep in itertools.product(axes, (0, 1)):
                name = f"{op}_{np.dtype(dtype).name}_{place}_{keep}"
                if op.startswith("Arg"):
                    for last in (0, 1):
                        yield f"{name}_{last}", one(op, [x], axis=axis, keepdims=keep, select_last_index=last)
                elif axis is None:
                    yield name, one(op, [x], keepdims=keep)
                else:
                    yield name, one(op, [x, np.array(axis, np.int64)], constants=[1], keepdims=keep)
                    if op != "ReduceSum":
                        yield f"{name}_13", one(op, [x], opset=13, axes=axis, keepdims=keep)
        for value in (odd(np.float32).reshape(2, 3), np.full((2, 3), np.inf, np.float32), np.full((2, 3), -np.inf, np.float32)):
            extra = {"axis": 1} if op.startswith("Arg") else {}
            inputs = [value] if extra else [value, np.array([1], np.int64)]
            yield f"{op}_odd_{value[0, 1]}", one(op, inputs, constants=[] if extra else [1], **extra)
        if not op.startswith("Arg"):
            none = np.zeros((0,), np.int64)
            yield f"{op}_noop", one(op, [np.ones((2, 3), np.float32), none], constants=[1], noop_with_empty_axes=1)
            if op not in ("ReduceMean", "ReduceMax", "ReduceMin"):
                yield f"{op}_empty", one(op, [np.ones((0, 3), np.float32), np.array([0], np.int64)], constants=[1])
    for dtype, (reverse, exclusive) in itertools.product([np.float32, np.int32, np.int64, np.float64], itertools.product((0, 1), repeat=2)):
        x = np.arange(12, dtype=dtype).reshape(3, 4) * (dtype(1) if dtype != np.int64 else dtype(2**40))
        for axis in (0, 1, -1):
            yield f"CumSum_{dtype.__name__}_{reverse}_{exclusive}_{axis}", one(
                "CumSum", [x, np.array(axis, np.int64)], constants=[1], reverse=reverse, exclusive=exclusive)
    for dtype, largest in itertools.product([np.float32, np.float64, np.int32, np.int64], (0, 1)):
        x = np.array([[3, 1, 3, 2, 3], [0, -1, 5, 5, 2]], dtype)
        for axis in (0, 1):
            yield f"TopK_{dtype.__name__}_{largest}_{axis}", one("TopK", [x, np.array([2], np.int64)], 2, [1], axis=axis, largest=largest)
    x = np.array([[2**40, 2**40 + 1, -2**40], [5, 2**60, 2**60 + 3]], np.int64)
    yield "TopK_far", one("TopK", [x, np.array([2], np.int64)], 2, [1])


def products():
    generator = np.random.default_rng(5)
    for dtype in [np.float32, np.float64, np.float16, np.int32, np.int64, np.uint32]:
        def tensor(*shape):
            if dtype in FLOATS:
                return generator.uniform(-2, 2, shape).astype(dtype)
            return generator.integers(0, 40000, shape).astype(dtype)
        for a, b in [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)),
                     ((2, 1, 3, 4), (5, 4, 2)), ((1, 1, 4), (3, 4, 1)), ((7, 0), (0, 2)), ((64, 65), (65, 33)), ((1, 70), (70, 90))]:
            name = f"{np.dtype(dtype).name}_{'x'.join(map(str, a))}_{'x'.join(map(str, b))}"
            yield f"MatMul_{name}", one("MatMul", [tensor(*a), tensor(*b)])
            yield f"MatMul_{name}_weight", one("MatMul", [tensor(*a), tensor(*b)], constants=[1])
        for trans_a, trans_b, c in itertools.product((0, 1), (0, 1), [None, (), (1,), (5,), (3, 1), (1, 5), (3, 5)]):
            a, b = tensor(*((4, 3) if trans_a else (3, 4))), tensor(*((5, 4) if trans_b else (4, 5)))
            inputs = [a, b] if c is None else [a, b, tensor(*c)]
            for alpha, beta in ((1.0, 1.0), (0.5, 2.0)):
                yield f"Gemm_{np.dtype(dtype).name}_{trans_a}{trans_b}_{c}_{alpha}", one(
                    "Gemm", inputs, constants=[1], transA=trans_a, transB=trans_b, alpha=alpha, beta=beta)
    for equation, shapes in [("ij,jk->ik", [(3, 4), (4, 5)]), ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]), ("ii->i", [(3, 3)]),
                             ("ij->ji", [(3, 4)]), ("ij->", [(3, 4)]), ("i,j->ij", [(3,), (4,)]), ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]),
                             ("bhid,bhjd->bhij", [(2, 2, 3, 4), (2, 2, 5, 4)]), ("ij,ij->i", [(3, 4), (3, 4)])]:
        yield f"Einsum_{equation.replace('->', '_to_').replace(',', '_').replace('...', 'rest')}", one(
            "Einsum", [generator.uniform(-1, 1, shape).astype(np.float32) for shape in shapes], equation=equation)
    signs = [(np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8), (np.int8, np.uint8)]
    for left, right in signs:
        a, b = ints(left)[:12].reshape(3, 4), ints(right)[:8].reshape(4, 2)
        yield f"MatMulInteger_{left.__name__}_{right.__name__}", one("MatMulInteger", [a, b])
        zero = [left(3).reshape(()), right(2).reshape(())]
        yield f"MatMulInteger_{left.__name__}_{right.__name__}_zero", one("MatMulInteger", [a, b, *zero], constants=[2, 3])


def shapes():
    x = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    limits = [-(2**63), -6, -5, -1, 0, 1, 4, 5, 2**63 - 1]
    steps = (1, 2, -1, -2, 2**31 - 1)
    for i, (step, start, end) in enumerate(itertools.product(steps, limits, limits)):
        axis = (0, -1)[i % 2]
        values = [np.array([v], np.int64) for v in (start, end, axis, step)]
        yield f"Slice_{axis}_{step}_{start}_{end}", one("Slice", [x, *values], constants=[1, 2, 3, 4])
    for mode, pads in itertools.product(["constant", "reflect", "edge", "wrap"], [[0, 0, 1, 0, 0, 2], [1, 1, 1, 1, 1, 1], [0, -1, 0, 0, 0, -2], [0, 0, -1, 0, 0, 2]]):
        yield f"Pad_{mode}_{pads}".replace(" ", ""), one("Pad", [x, np.array(pads, np.int64)], constants=[1], opset=19, mode=mode)
    yield "Pad_value", one("Pad", [x, np.array([0, 0, 1, 0, 0, 2], np.int64), np.float32(7).reshape(())], constants=[1, 2])
    yield "Pad_axes", one("Pad", [x, np.array([1, 2], np.int64), None, np.array([-2], np.int64)], constants=[1, 3])
    for op, axis in itertools.product(["Gather", "GatherElements"], (0, 1, -1)):
        index = np.array([[0, -1, 2], [1, -3, 0]], np.int64)
        data = np.arange(9, dtype=np.float32).reshape(3, 3)
        yield f"{op}_{axis}", one(op, [data, index], axis=axis)
        yield f"{op}_{axis}_int32", one(op, [data, index.astype(np.int32)], axis=axis)
        yield f"{op}_{axis}_const", one(op, [data, index], constants=[1], axis=axis)
    for reduction, dtype in itertools.product(["none", "add", "mul", "max", "min"], [np.float32, np.int64, np.int32]):
        data, index, update = np.ones((4, 3), dtype), np.array([[0, 1, 0], [0, -1, 1]], np.int64), np.arange(6, dtype=dtype).reshape(2, 3)
        yield f"ScatterElements_{reduction}_{dtype.__name__}", one("ScatterElements", [data, index, update], reduction=reduction)
        places = np.array([[0, 1], [0, 1], [3, -1]], np.int64)
        yield f"ScatterND_{reduction}_{dtype.__name__}", one("ScatterND", [data, places, update.ravel()[:3]], reduction=reduction)
    for shape in ([3, 4, 5], [1, 3, 4, 5], [3, 1, 1], [2, 3, 4, 5], [1]):
        small = np.arange(4, dtype=np.float32).reshape(4, 1)
        yield f"Expand_{shape}".replace(" ", ""), one("Expand", [small, np.array(shape, np.int64)], constants=[1])
    for depth, axis in itertools.product((1, 3, 5), (-1, 0, 1)):
        yield f"OneHot_{depth}_{axis}", one(
            "OneHot", [np.array([[0, 2, -1], [4, -5, 9]], np.int64), np.array(depth, np.int64), np.array([2, 5], np.float32)], constants=[1, 2], axis=axis)
    for upper, k in itertools.product((0, 1), (-9, -1, 0, 1, 9)):
        yield f"Trilu_{upper}_{k}", one("Trilu", [x, np.array(k, np.int64)], constants=[1], upper=upper)
    for start, limit, delta in [(0, 10, 3), (10, 0, -3), (0, -5, 1), (5, 5, 1), (2**40, 2**40 + 5, 2)]:
        yield f"Range_{start}_{limit}_{delta}", one("Range", [np.array(v, np.int64) for v in (start, limit, delta)], constants=[0, 1, 2])
        yield f"Range_{start}_{limit}_{delta}_fed", one("Range", [np.array(v, np.int64) for v in (start, limit, delta)])
    for start, limit, delta in [(0, 1, 0.3), (1, -1, -0.25), (0, 1, 0.1)]:
        yield f"Range_float_{limit}_{delta}", one("Range", [np.array(v, np.float32) for v in (start, limit, delta)], constants=[0, 1, 2])
    for parts, split in [(2, [1, 3]), (3, [1, 1, 2]), (4, None), (3, None)]:
        inputs = [x] if split is None else [x, np.array(split, np.int64)]
        extra = {"num_outputs": parts} if split is None else {}
        yield f"Split_{parts}_{split}".replace(" ", ""), one("Split", inputs, parts, list(range(1, len(inputs))), axis=1, **extra)
    for mode, transform, nearest in itertools.product(
            ["nearest", "linear", "cubic"], ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"],
            ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]):
        if mode != "nearest" and nearest != "floor":
            continue
        image = np.random.default_rng(1).uniform(-1, 1, (1, 2, 4, 5)).astype(np.float32)
        for sizes in ([1, 2, 8, 10], [1, 2, 3, 7], [1, 2, 2, 2], [1, 2, 1, 9]):
            yield f"Resize_{mode}_{transform}_{nearest}_{sizes[2]}x{sizes[3]}", one(
                "Resize", [image, None, None, np.array(sizes, np.int64)], constants=[3], opset=19, mode=mode,
                coordinate_transformation_mode=transform, nearest_mode=nearest)
        for scale in ([1, 1, 2, 2], [1, 1, 0.6, 1.5], [1, 1, 0.5, 3]):
            yield f"Resize_{mode}_{transform}_{nearest}_by{scale[2]}x{scale[3]}", one(
                "Resize", [image, None, np.array(scale, np.float32)], constants=[2], opset=19, mode=mode,
                coordinate_transformation_mode=transform, nearest_mode=nearest)


def windows():
    generator = np.random.default_rng(9)
    image = generator.uniform(-1, 1, (2, 4, 7, 6)).astype(np.float32)
    grid = itertools.product([[2, 2], [3, 2]], [[1, 1], [2, 3]], [[1, 1], [2, 1]], [[0, 0, 0, 0], [1, 0, 1, 1]], (0, 1))
    for kernel, strides, dilations, pads, ceil in grid:
        name = f"{kernel}_{strides}_{dilations}_{pads}_{ceil}".replace(" ", "")
        window = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads}
        yield f"MaxPool_{name}", one("MaxPool", [image], ceil_mode=ceil, **window)
        yield f"MaxPool2_{name}", one("MaxPool", [image], 2, ceil_mode=ceil, **window)
        for count in (0, 1):
            yield f"AveragePool_{name}_{count}", one("AveragePool", [image], opset=19, ceil_mode=ceil, count_include_pad=count, **window)
        if not ceil:
            for groups in (1, 2, 4):
                weight = generator.uniform(-1, 1, (8, 4 // groups, *kernel)).astype(np.float32)
                yield f"Conv_{name}_{groups}", one("Conv", [image, weight, weight[:, 0, 0, 0].copy()], constants=[1, 2], group=groups, **window)
                back = generator.uniform(-1, 1, (4, 6 // groups if groups < 4 else 2, *kernel)).astype(np.float32)
                yield f"ConvTranspose_{name}_{groups}", one("ConvTranspose", [image, back], constants=[1], group=groups, **window)
    for auto, strides in itertools.product(["SAME_UPPER", "SAME_LOWER", "VALID"], [[1, 1], [2, 3], [3, 2]]):
        weight = generator.uniform(-1, 1, (3, 4, 3, 2)).astype(np.float32)
        name = f"{auto}_{strides}".replace(" ", "")
        yield f"Conv_{name}", one("Conv", [image, weight], constants=[1], auto_pad=auto, strides=strides)
        yield f"MaxPool_{name}", one("MaxPool", [image], auto_pad=auto, strides=strides, kernel_shape=[3, 2])
        yield f"AveragePool_{name}", one("AveragePool", [image], auto_pad=auto, strides=strides, kernel_shape=[3, 2])
        back = generator.uniform(-1, 1, (4, 3, 3, 2)).astype(np.float32)
        yield f"ConvTranspose_{name}", one("ConvTranspose", [image, back], constants=[1], auto_pad=auto, strides=strides)
    back = generator.uniform(-1, 1, (4, 3, 3, 3)).astype(np.float32)
    for strides, out in [([2, 2], [1, 1]), ([3, 2], [2, 1]), ([2, 2], [0, 1])]:
        yield f"ConvTranspose_padding_{strides}_{out}".replace(" ", ""), one("ConvTranspose", [image, back], constants=[1], strides=strides, output_padding=out)
    for shape in ([15, 13], [14, 12], [13, 11]):
        for auto in ("NOTSET", "SAME_UPPER", "SAME_LOWER"):
            yield f"ConvTranspose_shape_{shape}_{auto}".replace(" ", ""), one(
                "ConvTranspose", [image, back], constants=[1], strides=[2, 2], output_shape=shape, auto_pad=auto)
    for op, extra in [("GlobalAveragePool", {}), ("GlobalMaxPool", {}), ("GlobalLpPool", {"p": 2}), ("LpPool", {"kernel_shape": [2, 2]}),
                      ("InstanceNormalization", None), ("LRN", {"size": 3}), ("MeanVarianceNormalization", {}), ("BatchNormalization", None)]:
        scale, bias = np.array([1, 2, 3, 4], np.float32), np.array([0.5, -1, 2, 0], np.float32)
        for factor in (1, 1000):
            inputs, weights = [image * factor], []
            if op == "InstanceNormalization":
                inputs, weights = [image * factor, scale, bias], [1, 2]
            elif op == "BatchNormalization":
                inputs, weights = [image * factor, scale, bias, bias, scale], [1, 2, 3, 4]
            yield f"{op}_{factor}", one(op, inputs, constants=weights, **(extra or {}))
    for axis, dtype in itertools.product((0, 1, -1), [np.float32, np.float16, np.float64]):
        x = (generator.uniform(-1, 1, (3, 4, 5)) * 10).astype(dtype)
        shape = x.shape[axis:] if axis >= 0 else x.shape[-1:]
        scale, bias = np.full(shape, 2, dtype), np.full(shape, 1, dtype)
        yield f"LayerNormalization_{axis}_{dtype.__name__}", one("LayerNormalization", [x, scale, bias], constants=[1, 2], axis=axis)
    for block, mode in itertools.product((2,), ("DCR", "CRD")):
        deep = np.arange(2 * 8 * 2 * 3, dtype=np.float32).reshape(2, 8, 2, 3)
        yield f"DepthToSpace_{mode}", one("DepthToSpace", [deep], blocksize=block, mode=mode)


def quantized():
    x = np.array([-300, -128, -127.5, -1.5, -0.5, 0, 0.5, 1.5, 2.5, 127, 128, 255, 256, 1e6], np.float32)
    for dtype, zero, scale in itertools.product([np.uint8, np.int8], (0, 3, 100), (1.0, 0.5, 2.3)):
        weights = [np.float32(scale).reshape(()), dtype(zero).reshape(())]
        yield f"QuantizeLinear_{dtype.__name__}_{zero}_{scale}", one("QuantizeLinear", [x, *weights], constants=[1, 2])
        yield f"DequantizeLinear_{dtype.__name__}_{zero}_{scale}", one("DequantizeLinear", [ints(dtype), *weights], constants=[1, 2])
    yield "QuantizeLinear_none", one("QuantizeLinear", [x, np.float32(2).reshape(())], constants=[1])
    yield "DequantizeLinear_int32", one("DequantizeLinear", [ints(np.int32), np.float32(2).reshape(())], constants=[1])
    yield "DynamicQuantizeLinear", one("DynamicQuantizeLinear", [x[2:10]], 3)
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    for axis, count in ((0, 3), (1, 4)):
        scale, zero = np.linspace(0.5, 2, count).astype(np.float32), np.arange(count).astype(np.uint8)
        yield f"QuantizeLinear_axis{axis}", one("QuantizeLinear", [rows, scale, zero], constants=[1, 2], axis=axis)
        yield f"DequantizeLinear_axis{axis}", one("DequantizeLinear", [rows.astype(np.uint8), scale, zero], constants=[1, 2], axis=axis)


def expanded():
    """A product of matrices, one of which was made larger right before."""
    for op, before, after in itertools.product(["Expand", "Tile"], [(2, 1, 3), (1, 4, 3), (1, 1, 3)], [(2, 4, 3)]):
        how = np.array(after if op == "Expand" else [b // a for a, b in zip(before, after)], np.int64)
        x, w = np.arange(np.prod(before), dtype=np.float32).reshape(before), np.arange(12, dtype=np.float32).reshape(3, 4) / 7
        for left, transposed in itertools.product((True, False), (False, True)):
            nodes = [helper.make_node(op, ["x", "how"], ["e"])]
            name = "e"
            if transposed or not left:
                nodes.append(helper.make_node("Transpose", ["e"], ["t"], perm=[0, 2, 1]))
                name = "t"
            weight = w if left and not transposed else np.arange(20, dtype=np.float32).reshape(5, 4)[:, : 4] / 3
            if left and transposed:
                weight = np.arange(20, dtype=np.float32).reshape(4, 5) / 3
            elif not left:
                weight = np.arange(15, dtype=np.float32).reshape(5, 3) / 3
            nodes.append(helper.make_node("MatMul", [name, "w"] if left else ["w", name], ["y"]))
            graph = helper.make_graph(
                nodes, "expanded", [helper.make_tensor_value_info("x", TensorProto.FLOAT, before)],
                [helper.make_empty_tensor_value_info("y")], [numpy_helper.from_array(how, "how"), numpy_helper.from_array(weight, "w")])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
            yield f"{op}_{before}_{left}_{transposed}".replace(" ", ""), (model, {"x": x})


def grid():
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    families = (elementwise, reductions, products, shapes, windows, quantized, expanded)
    for name, (model, fed) in itertools.chain.from_iterable(family() for family in families):
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            expected = session.run(None, fed)
        except Exception:
            continue
        # ONNX Runtime itself overflows, or loses what is no number.
        if name.startswith(("Softplus_float16", "Softplus_float64", "ReduceLogSumExp_float16", "Sign_float16_odd", "LogSoftmax_float64_odd")):
            continue
        types = [output.type for output in session.get_outputs()]
        for i, value in enumerate(expected):
            elem = helper.np_dtype_to_tensor_dtype(value.dtype)
            model.graph.output[i].CopyFrom(helper.make_tensor_value_info(f"y{i}" if len(expected) > 1 or types else "y", elem, [None] * value.ndim))
            model.graph.output[i].name = session.get_outputs()[i].name
        name = name.replace(" ", "").replace("(", "").replace(")", "")
        yield f"grid_{name}", model, list(fed.values()), expected, RTOL, absolute(name)
