#include "monarch/mri/neural/encoding.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/sense.hpp"

namespace monarch::mri {
namespace {

class FourierEncoding final : public SliceEncoding {
 public:
  explicit FourierEncoding(const SliceBatch& batch) {
    for (int64_t i = 0; i < batch.size(); ++i) {
      slices_.push_back(std::make_shared<const CartesianSense>(batch.maps[i].unsqueeze(1).unsqueeze(0).contiguous(),
                                                               batch.mask[i].unsqueeze(0).contiguous()));
    }
  }

  at::Tensor apply(const at::Tensor& image) const override {
    return each(image, [](const CartesianSense& a, const at::Tensor& x) {
      return a.apply(x.unsqueeze(0).unsqueeze(0)).squeeze(1);
    });
  }
  at::Tensor adjoint(const at::Tensor& kspace) const override {
    return each(kspace, [](const CartesianSense& a, const at::Tensor& y) {
      return a.adjoint(y.unsqueeze(1)).squeeze(0).squeeze(0);
    });
  }
  at::Tensor normal(const at::Tensor& image) const override {
    return each(image, [](const CartesianSense& a, const at::Tensor& x) {
      return a.normal(x.unsqueeze(0).unsqueeze(0)).squeeze(0).squeeze(0);
    });
  }

 private:
  template <class Apply>
  at::Tensor each(const at::Tensor& x, const Apply& apply) const {
    if (slices_.size() == 1) return apply(*slices_[0], x[0]).unsqueeze(0);
    std::vector<at::Tensor> results;
    for (size_t i = 0; i < slices_.size(); ++i) results.push_back(apply(*slices_[i], x[static_cast<int64_t>(i)]));
    return at::stack(results);
  }

  std::vector<std::shared_ptr<const CartesianSense>> slices_;
};

class LearnedEncoding final : public SliceEncoding {
 public:
  LearnedEncoding(const SliceBatch& batch, std::shared_ptr<const operators::PlaneTransform> transform)
      : maps_(batch.maps),
        mask_(batch.mask.unsqueeze(1)),
        contrast_(batch.contrast),
        transform_(std::move(transform)) {}

  at::Tensor apply(const at::Tensor& image) const override {
    return transform_->inverse_adjoint(maps_ * image.unsqueeze(1), contrast_) * mask_;
  }
  at::Tensor adjoint(const at::Tensor& kspace) const override {
    return combine(maps_, transform_->inverse(kspace * mask_, contrast_));
  }

 private:
  at::Tensor maps_, mask_;
  std::vector<int64_t> contrast_;
  std::shared_ptr<const operators::PlaneTransform> transform_;
};

at::Tensor slice_inner(const at::Tensor& a, const at::Tensor& b) {  // Re <a, b> of each slice, [batch, 1, 1]
  return (at::view_as_real(a) * at::view_as_real(b)).sum({-3, -2, -1}).view({-1, 1, 1});
}

/// Conjugate gradients from zero, without a graph.
at::Tensor conjugate_gradients(const SliceEncoding& encoding, const at::Tensor& b, const at::Tensor& lambda,
                               const SliceSolve& options) {
  const at::NoGradGuard guard;
  at::Tensor x = at::zeros_like(b), r = b.contiguous().clone(), p = r, rho = slice_inner(r, r);
  const at::Tensor stop = rho * (options.tolerance * options.tolerance);
  for (int64_t i = 0; i < options.iterations; ++i) {
    const at::Tensor q = encoding.normal(p) + lambda * p;
    const at::Tensor curvature = slice_inner(p, q);
    // A slice that is solved (or zero) stays as it is.
    const at::Tensor going = (rho > stop) & (curvature > 0);
    if (!at::any(going).item<bool>()) break;
    const at::Tensor alpha = at::where(going, rho / curvature, 0.0);
    x = x + alpha * p;
    r = r - alpha * q;
    const at::Tensor next = slice_inner(r, r);
    p = r + at::where(going, next / rho, 0.0) * p;
    rho = next;
  }
  return x;
}

/// The value of x, with the gradient of x + (A^H A + λ)^-1 r.
class ImplicitStep final : public torch::autograd::Function<ImplicitStep> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& r, const at::Tensor& x,
                            std::shared_ptr<std::function<at::Tensor(const at::Tensor&)>> solve) {
    context->saved_data["solve"] = c10::IValue::make_capsule(c10::make_intrusive<Holder>(std::move(solve)));
    (void)r;
    return x.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto holder = context->saved_data["solve"].toCapsule();
    const auto& solve = *static_cast<Holder&>(*holder).solve;
    return {solve(gradients[0]), at::Tensor(), at::Tensor()};
  }

 private:
  struct Holder : torch::CustomClassHolder {
    explicit Holder(std::shared_ptr<std::function<at::Tensor(const at::Tensor&)>> s) : solve(std::move(s)) {}
    std::shared_ptr<std::function<at::Tensor(const at::Tensor&)>> solve;
  };
};

}  // namespace

void SliceBatch::check() const {
  const auto is = [](const at::Tensor& t, int64_t dim, at::ScalarType type) {
    return t.defined() && t.dim() == dim && t.scalar_type() == type;
  };
  monarch::check<DtypeError>(
      is(kspace, 4, at::kComplexFloat) && is(maps, 4, at::kComplexFloat) && is(mask, 3, at::kBool),
      "slices need k-space and maps [batch, coil, y, x] complex64 and a mask [batch, y, x] bool");
  monarch::check<ShapeError>(
      maps.sizes() == kspace.sizes() && mask.size(0) == size() && mask.size(1) == kspace.size(2) &&
          mask.size(2) == kspace.size(3) && (contrast.empty() || static_cast<int64_t>(contrast.size()) == size()),
      [&] {
        return fmt::format("slices of k-space {}, maps {}, mask {} and {} contrasts do not fit together",
                           shape_text(kspace.sizes()), shape_text(maps.sizes()), shape_text(mask.sizes()),
                           contrast.size());
      });
}

at::Tensor combine(const at::Tensor& maps, const at::Tensor& coil_images) {
  return (maps.conj() * coil_images).sum(1);
}

EncodingFactory fourier_encoding() {
  return [](const SliceBatch& batch) -> EncodingPtr {
    if (batch.kspace.is_cpu()) return std::make_shared<const FourierEncoding>(batch);
    // CartesianSense is for the CPU.
    auto fourier = std::make_shared<const operators::PlaneTransform>(batch.kspace.size(2), batch.kspace.size(3));
    return std::make_shared<const LearnedEncoding>(batch, std::move(fourier));
  };
}

EncodingFactory learned_encoding(std::shared_ptr<const operators::PlaneTransform> transform) {
  return [transform = std::move(transform)](const SliceBatch& batch) {
    return std::make_shared<const LearnedEncoding>(batch, transform);
  };
}

at::Tensor solve_normal(const EncodingPtr& encoding, const at::Tensor& b, const at::Tensor& lambda,
                        const SliceSolve& options) {
  check<ConfigError>(options.iterations >= 1, "conjugate gradients need an iteration at least");
  const at::Tensor weight = lambda.detach().reshape({-1, 1, 1});
  const at::Tensor x = conjugate_gradients(*encoding, b.detach(), weight, options);
  if (!at::GradMode::is_enabled()) return x;
  // At the solution d(b - (A^H A + λ) x)/dθ, with x held, is (A^H A + λ) dx/dθ.
  const at::Tensor residual = b - encoding->normal(x) - lambda.reshape({-1, 1, 1}) * x;
  if (!residual.requires_grad()) return x;
  auto solve = std::make_shared<std::function<at::Tensor(const at::Tensor&)>>(
      [encoding, weight, options](const at::Tensor& gradient) {
        return conjugate_gradients(*encoding, gradient, weight, options);
      });
  return ImplicitStep::apply(residual, x, std::move(solve));
}

}  // namespace monarch::mri
