"""torch.ops.monarch.multiply as Python users meet it.

    python test_multiply.py LIBRARY [unittest arguments]

Exit code 77: skipped, with the reason.
"""

import math
import os
import re
import sys
import unittest
import warnings


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(77)


if os.environ.get("MONARCH_SANITIZE"):
    skip("a sanitized library cannot be loaded into a plain Python")
try:
    import numpy as np
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
except (ImportError, OSError) as error:
    skip(f"needs the full PyTorch wheel and NumPy (scripts/setup --cuda): {error}")

LIBRARY = sys.argv.pop(1)
torch.ops.load_library(LIBRARY)
multiply = torch.ops.monarch.multiply

REAL_ACTIVATIONS = ("none", "gelu", "gelu_tanh", "relu")


def arguments(x_shape, w1_shape, w2_shape, out=None, dtype=torch.float64, x_dtype=None, seed=0, requires_grad=True):
    """x, w1, w2, bias with elements of order 1."""
    generator = torch.Generator().manual_seed(seed)
    out = w2_shape[0] * w2_shape[1] if out is None else out

    def random(shape, kind, terms):
        tensor = torch.randn(shape, generator=generator, dtype=torch.complex128 if kind.is_complex else torch.float64)
        return (tensor / math.sqrt(terms)).to(kind).requires_grad_(requires_grad)

    return (random(x_shape, x_dtype or dtype, 1), random(w1_shape, dtype, w1_shape[2]),
            random(w2_shape, dtype, w2_shape[2]), random((out,), dtype, 1))


def variants():
    """Arguments and options: real and complex, real x with complex factors, activations, kept and recomputed."""
    for recompute in (False, True):
        for activation in REAL_ACTIVATIONS:
            yield (arguments((2, 2, 7), (2, 3, 4), (3, 3, 2), out=8),
                   dict(out_features=8, activation=activation, recompute=recompute))
        yield arguments((3, 7), (2, 3, 4), (6, 2, 1), out=11, dtype=torch.complex128), dict(out_features=11,
                                                                                          recompute=recompute)
        yield (arguments((3, 8), (2, 3, 4), (3, 3, 2), dtype=torch.complex128, x_dtype=torch.float64),
               dict(recompute=recompute))


class Gradients(unittest.TestCase):
    def test_gradcheck(self):
        for args, options in variants():
            with self.subTest(dtype=args[1].dtype, **options):
                self.assertTrue(torch.autograd.gradcheck(lambda *a: multiply(*a, **options), args,
                                                         check_forward_ad=True, check_batched_grad=True))

    def test_gradgradcheck(self):
        for args, options in variants():
            with self.subTest(dtype=args[1].dtype, **options):
                self.assertTrue(torch.autograd.gradgradcheck(lambda *a: multiply(*a, **options), args))

    def test_gradcheck_rejects_a_missing_conjugate(self):
        args = arguments((3, 8), (2, 3, 4), (3, 3, 2), dtype=torch.complex128)

        def wrong(x, w1, w2, bias):
            other = multiply(x, w1.conj(), w2, bias)
            return multiply(x, w1, w2, bias).detach() + other - other.detach()

        with self.assertRaisesRegex(RuntimeError, "Jacobian mismatch"):
            torch.autograd.gradcheck(wrong, args)

    def test_internal_operations_refuse_autograd(self):
        args = arguments((3, 8), (2, 3, 4), (3, 3, 2))
        y = torch.ops.monarch.multiply_forward(*args, None, "none", True)[0]
        with self.assertRaisesRegex(RuntimeError, "not implemented"):
            y.sum().backward()


class Opcheck(unittest.TestCase):
    def test_multiply(self):
        for args, options in variants():
            with self.subTest(dtype=args[1].dtype, **options):
                result = torch.library.opcheck(multiply, args, options)
                self.assertEqual(set(result.values()), {"SUCCESS"})
        plain = arguments((5, 8), (2, 3, 4), (3, 3, 2), dtype=torch.float32, requires_grad=False)
        self.assertEqual(set(torch.library.opcheck(multiply, plain[:3]).values()), {"SUCCESS"})

    def test_internal_operations(self):
        checks = ("test_schema", "test_faketensor")
        for args, options in variants():
            x, w1, w2, bias = (t.detach() for t in args)
            out, activation = options.get("out_features"), options.get("activation", "none")
            for keep in (False, True):
                forward = (x, w1, w2, bias, out, activation, keep)
                torch.library.opcheck(torch.ops.monarch.multiply_forward, forward, test_utils=checks)
                y, middle, argument = torch.ops.monarch.multiply_forward(*forward)
                rows = x.shape[:-1].numel()
                self.assertEqual(list(middle.shape), [rows, w1.shape[0] * w1.shape[1]] if keep else [0])
                self.assertEqual(list(argument.shape), [rows, y.shape[-1]] if keep and "gelu" in activation else [0])
                for wanted in ([True] * 4, [False, True, False, False]):
                    backward = (torch.ones_like(y), x, w1, w2, bias, y, middle if keep else None,
                                argument if argument.numel() else None, activation, wanted)
                    torch.library.opcheck(torch.ops.monarch.multiply_backward, backward, test_utils=checks)


def numpy_dense(w1, w2):
    """The matrix, element by element: row s l + j, column k p + i, summed over the middle rows t with t mod l = j."""
    (k, q, p), (l, s, r) = w1.shape, w2.shape
    dense = np.zeros((l * s, k * p), dtype=w1.dtype)
    for t in range(k * q):
        block, row = divmod(t, q)
        rho, j = divmod(t, l)
        dense[j::l, block * p:(block + 1) * p] += np.outer(w2[j, :, rho], w1[block, row])
    return dense


def numpy_activation(z, activation):
    """Value and derivative."""
    if activation == "gelu":
        erf = np.vectorize(math.erf)(z / math.sqrt(2))
        return z * (1 + erf) / 2, (1 + erf) / 2 + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    if activation == "gelu_tanh":
        c = math.sqrt(2 / math.pi)
        t = np.tanh(c * (z + 0.044715 * z**3))
        return z * (1 + t) / 2, (1 + t) / 2 + z / 2 * (1 - t * t) * c * (1 + 3 * 0.044715 * z * z)
    if activation == "relu":
        return np.maximum(z, 0), (z > 0).astype(z.dtype)
    return z, np.ones_like(z)


def numpy_product(x, w1, w2, bias, out, activation, gradient):
    """y and the gradients of Re(conj(gradient) . y) for x, w1, w2, bias (2-D x)."""
    (k, q, p), (l, s, r) = w1.shape, w2.shape
    n = x.shape[1]
    dense = numpy_dense(w1, w2)[:out, :n]
    z = x @ dense.T + bias
    y, slope = numpy_activation(z, activation)
    g = gradient * slope
    dx = g @ dense.conj()
    if not np.iscomplexobj(x):
        dx = dx.real
    d_dense = np.zeros((l * s, k * p), dtype=g.dtype)
    d_dense[:out, :n] = g.T @ x.conj()
    dw1, dw2 = np.zeros(w1.shape, g.dtype), np.zeros(w2.shape, g.dtype)
    for t in range(k * q):
        block, row = divmod(t, q)
        rho, j = divmod(t, l)
        part = d_dense[j::l, block * p:(block + 1) * p]  # [s, p]
        dw1[block, row] = w2[j, :, rho].conj() @ part
        dw2[j, :, rho] = part @ w1[block, row].conj()
    return y, dx, dw1, dw2, g.sum(0)


class Numpy(unittest.TestCase):
    TOLERANCE = {torch.float32: 2e-5, torch.complex64: 2e-5, torch.float64: 1e-12, torch.complex128: 1e-12,
                 torch.bfloat16: 2.0**-6}

    def check(self, generator, dtype, x_dtype=None, activation="none", recompute=False, large=False):
        most = 40 if large else 7
        k, l = generator.integers(1, 9, 2)
        unit = math.lcm(int(k), int(l))
        middle = unit * int(generator.integers(1, max(2, 2 * most // unit + 1)))
        p, s = generator.integers(1, most, 2)
        n, out = generator.integers(k * (p - 1) + 1, k * p + 1), generator.integers(l * (s - 1) + 1, l * s + 1)
        batch = int(generator.integers(1, 70))
        shapes = (batch, int(n)), (int(k), middle // int(k), int(p)), (int(l), int(s), middle // int(l))
        args = arguments(*shapes, out=int(out), dtype=dtype, x_dtype=x_dtype, seed=int(generator.integers(1 << 30)))
        with self.subTest(shapes=shapes, dtype=dtype, x_dtype=x_dtype, activation=activation, recompute=recompute):
            y = multiply(*args, out_features=int(out), activation=activation, recompute=recompute)
            gradient = arguments(y.shape, (1, 1, 1), (1, 1, 1), dtype=dtype, seed=1, requires_grad=False)[0]
            found = (y, *torch.autograd.grad(y, args, gradient))
            wide = [t.detach().to(torch.complex128 if t.is_complex() else torch.float64).numpy()
                    for t in (*args, gradient)]
            expected = numpy_product(*wide[:4], int(out), activation, wide[4])
            for name, a, b in zip(("y", "dx", "dw1", "dw2", "dbias"), found, expected):
                a = a.detach().to(torch.complex128 if a.is_complex() else torch.float64).numpy()
                self.assertEqual(a.shape, b.shape)
                self.assertEqual(np.iscomplexobj(a), np.iscomplexobj(b))
                # Of a sum that nearly cancels only the rounding of its terms can be asked.
                error, scale = np.linalg.norm(a - b), max(np.linalg.norm(b), 1e-3 * math.sqrt(b.size))
                self.assertLessEqual(error / scale, self.TOLERANCE[dtype], name)

    def test_random_shapes(self):
        generator = np.random.default_rng(11)
        for turn in range(40):
            for dtype in (torch.float32, torch.float64, torch.bfloat16):
                self.check(generator, dtype, activation=REAL_ACTIVATIONS[turn % 4], recompute=turn % 3 == 0,
                           large=turn % 2 == 0)
            for dtype, real in ((torch.complex64, torch.float32), (torch.complex128, torch.float64)):
                self.check(generator, dtype, recompute=turn % 3 == 0, large=turn % 2 == 0)
                self.check(generator, dtype, x_dtype=real, recompute=turn % 3 == 1, large=turn % 2 == 1)

    def test_the_check_rejects_another_order_of_the_middle_vector(self):
        args = arguments((5, 8), (2, 6, 4), (3, 3, 4), requires_grad=False)
        x, w1, w2, bias = (t.numpy() for t in args)
        ones = np.ones((5, 9))
        right = numpy_product(x, w1, w2, bias, 9, "none", ones)[0]
        self.assertLessEqual(np.abs(multiply(*args).numpy() - right).max(), 1e-12)
        middle = np.einsum("kqp,bkp->bkq", w1, x.reshape(5, 2, 4)).reshape(5, 12)
        blocks = np.einsum("jsr,bjr->bsj", w2, middle.reshape(5, 3, 4)).reshape(5, 9) + bias
        self.assertFalse(np.abs(blocks - right).max() <= 1e-12)


class Constructions(unittest.TestCase):
    def test_dft_equals_numpy_at_many_sizes(self):
        for n in (4, 15, 26, 49, 100, 231, 598, 1331, 2310):
            for inverse in (False, True):
                w1, w2, order = torch.ops.monarch.dft(n, inverse=inverse)
                x = torch.randn(3, n, dtype=torch.complex128)
                y = multiply(x[:, order], w1, w2).numpy()
                expected = (np.fft.ifft if inverse else np.fft.fft)(x.numpy(), norm="ortho")
                with self.subTest(n=n, inverse=inverse):
                    self.assertLessEqual(np.linalg.norm(y - expected), 1e-13 * np.linalg.norm(expected))
        with self.assertRaisesRegex(RuntimeError, "prime"):
            torch.ops.monarch.dft(101)

    def test_projection_is_the_best_approximation_of_each_slice(self):
        k, l, rank, p, s = 3, 4, 2, 10, 7
        a = torch.randn(l * s, k * p, dtype=torch.complex128)
        w1, w2, spectrum, error = torch.ops.monarch.project(a, [k, l * rank, p, l, s, k * rank])
        dense = torch.ops.monarch.dense(w1, w2)
        self.assertLessEqual(abs(((a - dense).norm() / a.norm()).item() - error), 1e-12)
        discarded = 0.0
        for i in range(k):
            for j in range(l):
                values = np.linalg.svd(a[j::l, i * p:(i + 1) * p].numpy(), compute_uv=False)
                np.testing.assert_allclose(spectrum[i, j].numpy(), values, rtol=1e-10)
                discarded += float((values[rank:] ** 2).sum())
        self.assertLessEqual(abs(error - discarded ** 0.5 / a.norm().item()), 1e-12)
        again = torch.ops.monarch.project(dense, [k, l * rank, p, l, s, k * rank])
        self.assertLessEqual(again[3], 1e-7)
        self.assertLessEqual((torch.ops.monarch.dense(again[0], again[1]) - dense).norm().item(), 1e-12)


class Tracing(unittest.TestCase):
    def setUp(self):
        torch._dynamo.reset()

    def layer(self):
        """The layer of docs/python.md, as printed there."""
        page = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "python.md")
        with open(page, encoding="utf-8") as file:
            blocks = re.findall(r"```python\n(.*?)```", file.read(), re.S)
        scope = {}
        exec(next(block for block in blocks if "class MonarchLinear" in block), scope)
        torch.manual_seed(3)
        return scope["MonarchLinear"](30, 22, nblocks=4)

    def test_layer_of_the_documentation_trains(self):
        layer = self.layer()
        x = torch.randn(64, 30)
        target = torch.randn(64, 22)
        optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            losses.append(torch.nn.functional.mse_loss(layer(x), target))
            losses[-1].backward()
            optimizer.step()
        self.assertLess(losses[-1].item(), 0.7 * losses[0].item())

    def test_compile_without_graph_breaks(self):
        layer = self.layer()
        compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=True)
        for batch in (3, 5, 17):
            x = torch.randn(2, batch, 30, requires_grad=True)
            expected, found = layer(x), compiled(x)
            self.assertTrue(torch.allclose(found, expected, atol=1e-6))
            leaves = [x, *layer.parameters()]
            for a, b in zip(torch.autograd.grad(found.square().sum(), leaves),
                            torch.autograd.grad(expected.square().sum(), leaves)):
                self.assertTrue(torch.allclose(a, b, atol=1e-5))

    def test_compile_once_for_all_batch_sizes(self):
        graphs = []

        def backend(graph, _):
            graphs.append(graph)
            return graph.forward

        compiled = torch.compile(self.layer(), backend=backend, fullgraph=True, dynamic=True)
        for batch in (3, 5, 17, 31):
            compiled(torch.randn(batch, 30))
        self.assertEqual(len(graphs), 1)

    def test_export_with_a_free_batch_size(self):
        layer = self.layer().eval()
        batch = torch.export.Dim("batch")
        program = torch.export.export(layer, (torch.randn(4, 30),), dynamic_shapes=({0: batch},), strict=False)
        names = [str(node.target) for node in program.graph.nodes]
        self.assertIn("monarch.multiply.default", names)
        for rows in (2, 9, 100):
            x = torch.randn(rows, 30)
            self.assertTrue(torch.equal(program.module()(x), layer(x)))

    def test_make_fx_traces_forward_and_backward(self):
        args = arguments((3, 7), (2, 3, 4), (3, 3, 2), out=8)

        def step(x, w1, w2, bias):
            y = multiply(x, w1, w2, bias, out_features=8, activation="gelu")
            return torch.autograd.grad(y.sum(), (x, w1, w2, bias))

        graph = make_fx(step, tracing_mode="symbolic")(*args)
        names = {str(node.target) for node in graph.graph.nodes}
        self.assertTrue({"monarch.multiply_forward.default", "monarch.multiply_backward.default"} <= names)
        for a, b in zip(graph(*args), step(*args)):
            self.assertTrue(torch.allclose(a, b))

    def test_fake_and_meta_tensors(self):
        for activation in REAL_ACTIVATIONS:
            with FakeTensorMode():
                x, w1, w2 = torch.empty(5, 2, 7), torch.empty(2, 3, 4, requires_grad=True), torch.empty(3, 3, 2)
                y = multiply(x, w1, w2, out_features=8, activation=activation)
                self.assertEqual((list(y.shape), y.dtype, y.device.type), ([5, 2, 8], torch.float32, "cpu"))
                y.sum().backward()
                self.assertEqual(list(w1.grad.shape), [2, 3, 4])
        y = multiply(torch.empty(4, 8, device="meta"), torch.empty(2, 3, 4, device="meta", dtype=torch.complex64),
                     torch.empty(3, 3, 2, device="meta", dtype=torch.complex64))
        self.assertEqual((list(y.shape), y.dtype, y.device.type), ([4, 9], torch.complex64, "meta"))

    def test_func_transforms(self):
        x, w1, w2, bias = arguments((5, 8), (2, 3, 4), (3, 3, 2), requires_grad=False)

        def loss(x, w1):
            return multiply(x, w1, w2, bias, activation="gelu").square().sum()

        leaf = x.clone().requires_grad_()
        expected = torch.autograd.grad(loss(leaf, w1), leaf)[0]
        self.assertTrue(torch.allclose(torch.func.grad(loss)(x, w1), expected))
        tangent = torch.ones_like(x)
        self.assertTrue(torch.allclose(torch.func.jvp(lambda x: loss(x, w1), (x,), (tangent,))[1],
                                       (expected * tangent).sum()))
        per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))(x, w1)
        self.assertTrue(torch.allclose(per_sample, expected))
        many = torch.stack([w1, 2 * w1])
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # no loop over the batch
            together = torch.func.vmap(lambda w: multiply(x, w, w2))(many)
        self.assertTrue(torch.allclose(together, torch.stack([multiply(x, w, w2) for w in many])))
        hessian = torch.func.hessian(loss, argnums=1)(x, w1)
        self.assertTrue(torch.allclose(hessian, torch.autograd.functional.hessian(lambda w: loss(x, w), w1)))


class Behaviour(unittest.TestCase):
    def test_autocast(self):
        args = arguments((5, 8), (2, 3, 4), (3, 3, 2), dtype=torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = multiply(*args)
            exact = multiply(*arguments((5, 8), (2, 3, 4), (3, 3, 2)))
            waves = multiply(*arguments((5, 8), (2, 3, 4), (3, 3, 2), dtype=torch.complex64, x_dtype=torch.float32))
        self.assertEqual((y.dtype, exact.dtype, waves.dtype), (torch.bfloat16, torch.float64, torch.complex64))
        y.sum().backward()
        self.assertEqual([t.grad.dtype for t in args], [torch.float32] * 4)
        self.assertTrue(torch.equal(y, multiply(*(t.bfloat16() for t in args))))

    def test_errors_arrive_with_their_message(self):
        x, w1, w2 = torch.randn(3, 8), torch.randn(2, 3, 4), torch.randn(3, 3, 2)
        cases = [
            ((x[:, :5], w1, w2), {}, r"takes 7 to 8 columns, got x float32 \[3, 5\] on cpu\nhint: "),
            ((x, w1, torch.randn(3, 3, 3)), {}, r"k\*q = 6 middle rows.*l\*r = 9"),
            ((x.double(), w1, w2), {}, "mixed element types: x float64, w1 float32"),
            ((x, w1.to("meta"), w2), {}, "different devices"),
            ((x.half(), w1.half(), w2.half()), {}, "float16 is not supported on cpu"),
            ((x, w1, w2, torch.randn(8)), {}, r"expected a bias \[9\]"),
            ((x, w1, w2), dict(out_features=5), "gives 7 to 9 columns, 5 were asked for"),
            ((x, w1, w2), dict(activation="rellu"), "unknown activation 'rellu'.*\nhint: did you mean relu"),
            ((x, w1.cfloat(), w2.cfloat()), dict(activation="relu"), "not defined for complex numbers"),
        ]
        for args, options, message in cases:
            for requires_grad in (False, True):
                leaves = [t.detach().requires_grad_(requires_grad) for t in args]
                with self.subTest(message=message), self.assertRaisesRegex(RuntimeError, message):
                    multiply(*leaves, **options)
        with torch.device("meta"), self.assertRaisesRegex(RuntimeError, "takes 7 to 8 columns"):
            multiply(torch.empty(3, 5), torch.empty(2, 3, 4), torch.empty(3, 3, 2))
        with self.assertRaises(NotImplementedError):
            multiply(x.to_sparse(), w1, w2)

    def test_no_rows(self):
        x, w1, w2, bias = arguments((0, 8), (2, 3, 4), (3, 3, 2))
        y = multiply(x, w1, w2, bias, activation="gelu")
        self.assertEqual(list(y.shape), [0, 9])
        y.sum().backward()
        self.assertEqual(list(x.grad.shape), [0, 8])
        self.assertTrue(all((t.grad == 0).all() for t in (w1, w2, bias)))

    def test_inference_mode_and_views(self):
        x, w1, w2, bias = arguments((4, 5, 8), (2, 3, 4), (3, 3, 2), dtype=torch.complex128, requires_grad=False)
        y = multiply(x, w1, w2, bias)
        with torch.inference_mode():
            self.assertTrue(torch.equal(multiply(x, w1, w2, bias), y))
        self.assertTrue(torch.allclose(multiply(x.conj(), w1.conj(), w2.conj(), bias.conj()), y.conj()))
        self.assertTrue(torch.allclose(multiply(x.transpose(0, 1), w1, w2, bias), y.transpose(0, 1)))
        self.assertTrue(torch.allclose(multiply(x[1, 2], w1, w2, bias), y[1, 2]))

    def test_one_openmp_runtime(self):
        with open("/proc/self/maps", encoding="utf-8") as maps:
            files = {line.split()[-1] for line in maps if "/" in line}
        runtimes = {os.path.realpath(f) for f in files if re.search(r"/lib(g|i|)omp[^/]*\.so", f)}
        self.assertTrue(any(os.path.realpath(LIBRARY) == os.path.realpath(f) for f in files))
        self.assertLessEqual(len(runtimes), 1, runtimes)


if __name__ == "__main__":
    unittest.main(verbosity=2)
