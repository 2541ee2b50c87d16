#include "monarch/training/precision.hpp"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"

namespace monarch::training {

void set_precision(torch::nn::Module& module, const std::string& precision) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> tensors = module.parameters();
  if (precision == "bfloat16") {
    const bool cuda = !tensors.empty() && tensors.front().is_cuda();
    const bool has = cuda ? at::detail::getCUDAHooks().supportsBFloat16ConvolutionWithCuDNNv8()
                          : __builtin_cpu_supports("avx512bf16") != 0;
    check<ConfigError>(
        has,
        [&] {
          return fmt::format("training.precision is \"bfloat16\", which this {} does not compute with",
                             cuda ? "GPU" : "processor");
        },
        "use \"float32\"");
  }
  if (precision != "float64") return;
  for (const auto& buffer : module.buffers()) tensors.push_back(buffer);
  for (auto& tensor : tensors) {
    if (tensor.is_floating_point() && tensor.scalar_type() != at::kDouble) tensor.set_data(tensor.to(at::kDouble));
    if (tensor.is_complex() && tensor.scalar_type() != at::kComplexDouble)
      tensor.set_data(tensor.to(at::kComplexDouble));
  }
}

MixedPrecision::MixedPrecision(bool on, at::DeviceType device) : on_(on), device_(device) {
  if (!on_) return;
  enabled_ = at::autocast::is_autocast_enabled(device_);
  dtype_ = at::autocast::get_autocast_dtype(device_);
  at::autocast::set_autocast_dtype(device_, at::kBFloat16);
  at::autocast::set_autocast_enabled(device_, true);
  at::autocast::increment_nesting();
}

MixedPrecision::~MixedPrecision() {
  if (!on_) return;
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, enabled_);
  at::autocast::set_autocast_dtype(device_, dtype_);
}

}  // namespace monarch::training
