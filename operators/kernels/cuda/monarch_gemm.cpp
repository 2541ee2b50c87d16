// The Monarch product as two strided-batched products of cuBLAS.
//
// cuBLAS takes matrices with one unit stride and a leading dimension. Stage 2 reads mid[b, rho l + j] for block j: with
// rows of mid innermost in memory the stride along rho is l, which no operand may have: the unfused algorithm copies.
// Here the middle lies batch-innermost, mid[t][b] with a line of `bs` numbers (batch rounded up to 16 bytes):
//
//   stage 1, block k:  mid_k (b, q) = X_k^T W1_k,  X_k [p × batch] ld in, W1_k [p × q] ld p, mid_k ld bs, at k q bs
//   stage 2, block j:  z_j (b, s) = mid_j W2_j,    mid_j [batch × r] and z_j ld l bs at j bs, W2_j [r × s] ld r
//
// (column-major): P1 is the leading dimension l bs, and so is P2 as long as z is batch-innermost too. The result is
// row-major, and no layout of z makes that expressible: y[b, s l + j] has the stride l along s and out along b. So one
// transposition remains; it carries bias and activation, which would be a pass of their own anyway.
//
// Numbers moved per row (n = in = k q = out): read x, write mid, read mid, write z, read z, write y: 6 n, where the
// unfused algorithm (bmm, copy, bmm, copy, bias, activation) moves 8 n, and 12 n with bias and activation.
//
// Gradients, dz[c][b] batch-innermost from dL/dy by the transposition (times act'):
//   dW2_j (r, s) = mid_j^H dz_j,  dmid_j (b, r) = dz_j W2_j^H,  dx_k (p, b) = conj(W1_k) dmid_k^T, row-major as it is,
//   dW1_k (p, q) = X_k dmid_k; for complex numbers its transpose dmid_k^T X_k^H, since cuBLAS conjugates only together
//   with transposing. Sums over the batch are cuBLAS's own, the same in every run on one device; no atomics.
// Missing columns of x: whole blocks first, then the block that is cut short by itself; blocks without any are zeros.
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>

#include <climits>

#include "monarch/core/error.hpp"
#include "monarch/operators/kernels/cuda/check.hpp"
#include "monarch/operators/kernels/cuda/monarch_paths.hpp"

namespace monarch::operators::kernels::cuda {
namespace {

/// A matrix of a batch, column-major.
struct Operand {
  const at::Tensor& tensor;
  int64_t offset;  ///< of the first matrix, in numbers
  int64_t leading, stride;
  char form = 'N';  ///< 'N', 'T', 'C' as in BLAS
};

cublasOperation_t operation(const Operand& a) {
  if (a.form == 'N') return CUBLAS_OP_N;
  return a.form == 'C' && a.tensor.is_complex() ? CUBLAS_OP_C : CUBLAS_OP_T;
}

const void* data(const Operand& a) {
  return static_cast<const char*>(a.tensor.const_data_ptr()) + a.offset * a.tensor.element_size();
}

cudaDataType_t cuda_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf:
      return CUDA_R_16F;
    case at::kBFloat16:
      return CUDA_R_16BF;
    case at::kDouble:
      return CUDA_R_64F;
    case at::kComplexFloat:
      return CUDA_C_32F;
    case at::kComplexDouble:
      return CUDA_C_64F;
    default:
      return CUDA_R_32F;
  }
}

/// Sums of 16-bit numbers stay in float32 to the end; restores the handle's mode.
class WideSums {
 public:
  WideSums(cublasHandle_t handle, at::ScalarType dtype)
      : handle_(handle), on_(dtype == at::kHalf || dtype == at::kBFloat16) {
    if (!on_) return;
    check_cublas(cublasGetMathMode(handle_, &before_), "cublasGetMathMode");
    const int mode = before_ | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
    check_cublas(cublasSetMathMode(handle_, static_cast<cublasMath_t>(mode)), "cublasSetMathMode");
  }
  WideSums(const WideSums&) = delete;
  WideSums& operator=(const WideSums&) = delete;
  ~WideSums() {
    if (on_) cublasSetMathMode(handle_, before_);  // a destructor has nobody to tell
  }

 private:
  cublasHandle_t handle_;
  bool on_;
  cublasMath_t before_ = CUBLAS_DEFAULT_MATH;
};

/// C = A B for `count` matrices, C m × n, contraction over k.
void gemm(int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b, const Operand& c, int64_t count) {
  const at::ScalarType dtype = c.tensor.scalar_type();
  const cudaDataType_t type = cuda_type(dtype);
  const bool twofold = dtype == at::kDouble || dtype == at::kComplexDouble;
  const float one_single[2] = {1, 0}, zero_single[2] = {0, 0};
  const double one_double[2] = {1, 0}, zero_double[2] = {0, 0};
  const void* one = twofold ? static_cast<const void*>(one_double) : one_single;
  const void* zero = twofold ? static_cast<const void*>(zero_double) : zero_single;
  // The handle comes with the current stream, and with TF32 where PyTorch's settings allow it.
  const cublasHandle_t handle = at::cuda::getCurrentCUDABlasHandle();
  const WideSums wide(handle, dtype);
  check_cublas(cublasGemmStridedBatchedEx_64(handle, operation(a), operation(b), m, n, k, one, data(a), type, a.leading,
                                             a.stride, data(b), type, b.leading, b.stride, zero,
                                             const_cast<void*>(data(c)), type, c.leading, c.stride, count,
                                             twofold ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
               "cublasGemmStridedBatchedEx_64");
}

/// Columns of x by blocks: `whole` blocks of p, then one of `rest` if not 0, then none.
struct Columns {
  int64_t whole, rest, used;
  Columns(int64_t in, int64_t p) : whole(in / p), rest(in % p), used(whole + (rest > 0)) {}
};

at::Tensor in_dtype_of(const at::Tensor& x, const at::Tensor& w) {
  return x.scalar_type() == w.scalar_type() ? x : x.to(w.scalar_type());
}

}  // namespace

Numbers numbers_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf:
      return Numbers::float16;
    case at::kBFloat16:
      return Numbers::bfloat16;
    case at::kFloat:
      return at::globalContext().allowTF32CuBLAS() ? Numbers::tf32 : Numbers::float32;
    case at::kDouble:
      return Numbers::float64;
    case at::kComplexFloat:
      return Numbers::complex64;
    case at::kComplexDouble:
      return Numbers::complex128;
    default:
      fail<DtypeError>("Monarch product on CUDA: " + std::string(c10::toString(dtype)) + " is not supported");
  }
}

int64_t batch_stride(int64_t batch, at::ScalarType dtype) {
  const auto line = static_cast<int64_t>(16 / c10::elementSize(dtype));
  return (batch + line - 1) / line * line;
}

at::Tensor middle_gemm(const at::Tensor& input, const at::Tensor& w1) {
  const at::Tensor x = in_dtype_of(input, w1);
  const int64_t batch = x.size(0), in = x.size(1), k = w1.size(0), q = w1.size(1), p = w1.size(2);
  const int64_t bs = batch_stride(batch, w1.scalar_type());
  const Columns columns(in, p);
  at::Tensor mid = at::empty({k * q, bs}, w1.options());
  if (columns.whole > 0) {
    gemm(batch, q, p, {x, 0, in, p, 'T'}, {w1, 0, p, q * p}, {mid, 0, bs, q * bs}, columns.whole);
  }
  if (columns.rest > 0) {
    gemm(batch, q, columns.rest, {x, columns.whole * p, in, 0, 'T'}, {w1, columns.whole * q * p, p, 0},
         {mid, columns.whole * q * bs, bs, 0}, 1);
  }
  if (columns.used < k) mid.narrow(0, columns.used * q, (k - columns.used) * q).zero_();
  return mid;
}

at::Tensor first_gradient(const at::Tensor& input, const at::Tensor& dmid, const at::Tensor& w1) {
  const at::Tensor x = in_dtype_of(input, w1);
  const int64_t batch = x.size(0), in = x.size(1), k = w1.size(0), q = w1.size(1), p = w1.size(2);
  const int64_t bs = dmid.size(1);
  const Columns columns(in, p);
  const bool turned = w1.is_complex();
  const std::vector<int64_t> shape = turned ? std::vector<int64_t>{k, p, q} : std::vector<int64_t>{k, q, p};
  at::Tensor dw1 = in == k * p ? at::empty(shape, w1.options()) : at::zeros(shape, w1.options());
  const auto blocks = [&](int64_t block, int64_t extent, int64_t count) {
    const Operand rows{x, block * p, in, p, turned ? 'C' : 'N'};
    const Operand sums{dmid, block * q * bs, bs, q * bs, turned ? 'T' : 'N'};
    const Operand result{dw1, block * q * p, turned ? q : p, q * p};
    if (turned) {
      gemm(q, extent, batch, sums, rows, result, count);
    } else {
      gemm(extent, q, batch, rows, sums, result, count);
    }
  };
  if (columns.whole > 0) blocks(0, p, columns.whole);
  if (columns.rest > 0) blocks(columns.whole, columns.rest, 1);
  return turned ? dw1.transpose(1, 2).contiguous() : dw1;
}

at::Tensor second_gradient(const at::Tensor& dz, const at::Tensor& mid, const at::Tensor& w2, int64_t batch) {
  const int64_t l = w2.size(0), s = w2.size(1), r = w2.size(2), bs = mid.size(1);
  at::Tensor dw2 = at::empty({l, s, r}, w2.options());
  gemm(r, s, batch, {mid, 0, l * bs, bs, 'C'}, {dz, 0, l * bs, bs}, {dw2, 0, r, s * r}, l);
  return dw2;
}

at::Tensor bias_gradient(const at::Tensor& dz, int64_t batch, int64_t out) {
  return at::sum(dz.narrow(0, 0, out).narrow(1, 0, batch), {1});
}

MonarchBackwardTask recomputed(MonarchBackwardTask task, ForwardFunction forward) {
  const bool gelu = task.activation == Activation::gelu || task.activation == Activation::gelu_tanh;
  if (gelu && !task.input_of_activation.defined()) {
    const bool keep = task.wanted[2] && !task.middle.defined();
    MonarchForward again = forward(task.x, task.w1, task.w2, task.bias, task.gradient.size(1), Activation::none, keep);
    task.input_of_activation = again.y;
    if (keep) task.middle = again.middle;
  }
  if (task.wanted[2] && !task.middle.defined()) task.middle = middle_gemm(task.x, task.w1);
  return task;
}

at::Tensor activation_argument(const MonarchBackwardTask& task) {
  if (task.activation == Activation::none) return {};
  return task.activation == Activation::relu ? task.y : task.input_of_activation;
}

MonarchForward monarch_forward_gemm(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                    const at::Tensor& bias, int64_t out, Activation activation, bool keep) {
  const int64_t batch = x.size(0), l = w2.size(0), s = w2.size(1), r = w2.size(2);
  const bool keep_z = keep && activation != Activation::none && activation != Activation::relu;
  const at::Tensor mid = middle_gemm(x, w1);
  const int64_t bs = mid.size(1);
  const at::Tensor z = at::empty({l * s, bs}, w2.options());
  gemm(batch, s, r, {mid, 0, l * bs, bs}, {w2, 0, r, s * r}, {z, 0, l * bs, bs}, l);

  MonarchForward result;
  result.y = at::empty({batch, out}, w2.options());
  if (keep) result.middle = mid;
  if (keep_z) result.input_of_activation = at::empty({batch, out}, w2.options());
  TurnTask turn;
  turn.in = z.const_data_ptr();
  turn.bias = bias.defined() ? bias.const_data_ptr() : nullptr;
  turn.out = result.y.mutable_data_ptr();
  turn.z = keep_z ? result.input_of_activation.mutable_data_ptr() : nullptr;
  turn.batch = batch;
  turn.batch_stride = bs;
  turn.columns = l * s;
  turn.out_columns = out;
  turn.activation = activation;
  launch_finish(turn, numbers_of(w2.scalar_type()), at::cuda::getCurrentCUDAStream(x.get_device()).stream());
  return result;
}

MonarchGradients monarch_backward_gemm(const MonarchBackwardTask& given) {
  const MonarchBackwardTask task = recomputed(given, &monarch_forward_gemm);
  const at::Tensor &x = task.x, &w1 = task.w1, &w2 = task.w2;
  const int64_t batch = x.size(0), in = x.size(1), out = task.gradient.size(1);
  const int64_t k = w1.size(0), q = w1.size(1), p = w1.size(2), l = w2.size(0), s = w2.size(1), r = w2.size(2);
  const int64_t bs = batch_stride(batch, w1.scalar_type());

  const at::Tensor dz = at::empty({l * s, bs}, w2.options());
  const at::Tensor argument = activation_argument(task);
  TurnTask turn;
  turn.in = task.gradient.const_data_ptr();
  turn.activation_in = argument.defined() ? argument.const_data_ptr() : nullptr;
  turn.out = dz.mutable_data_ptr();
  turn.batch = batch;
  turn.batch_stride = bs;
  turn.columns = l * s;
  turn.out_columns = out;
  turn.activation = task.activation;
  launch_begin(turn, numbers_of(w2.scalar_type()), at::cuda::getCurrentCUDAStream(x.get_device()).stream());

  MonarchGradients gradients;
  if (task.wanted[2]) gradients[2] = second_gradient(dz, task.middle, w2, batch);
  if (task.wanted[3]) gradients[3] = bias_gradient(dz, batch, out);
  if (!task.wanted[0] && !task.wanted[1]) return gradients;

  const at::Tensor dmid = at::empty({k * q, bs}, w1.options());
  gemm(batch, r, s, {dz, 0, l * bs, bs}, {w2, 0, r, s * r, 'C'}, {dmid, 0, l * bs, bs}, l);
  if (task.wanted[1]) gradients[1] = first_gradient(x, dmid, w1);
  if (task.wanted[0]) {
    const at::Tensor conjugate = w1.is_complex() ? at::conj_physical(w1) : w1;
    const at::Tensor dx = at::empty({batch, in}, w1.options());
    const Columns columns(in, p);
    if (columns.whole > 0) {
      gemm(p, batch, q, {conjugate, 0, p, q * p}, {dmid, 0, bs, q * bs, 'T'}, {dx, 0, in, p}, columns.whole);
    }
    if (columns.rest > 0) {
      gemm(columns.rest, batch, q, {conjugate, columns.whole * q * p, p, 0}, {dmid, columns.whole * q * bs, bs, 0, 'T'},
           {dx, columns.whole * p, in, 0}, 1);
    }
    gradients[0] = x.is_complex() || !dx.is_complex() ? dx : at::real(dx).contiguous();
  }
  return gradients;
}

}  // namespace monarch::operators::kernels::cuda
