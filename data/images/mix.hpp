#pragma once
// Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019) of a batch, as timm's mode "batch".

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "monarch/core/config.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/data/images/resize.hpp"

namespace monarch::data {

/// Keys data.augment.mixup, .cutmix, .mix_probability, .cutmix_probability.
struct MixOptions {
  double mixup = 0, cutmix = 0;     ///< alpha of the Beta distribution of λ; 0: not used
  double probability = 1;           ///< that a batch is mixed
  double cutmix_probability = 0.5;  ///< that it is cut, where both are in use
  bool used() const { return mixup > 0 || cutmix > 0; }
  static MixOptions from_config(const Config& config);
};

/// How one batch is mixed.
struct Mix {
  double lambda = 1;  ///< weight of the image's own label
  bool cut = false;
  Box box;  ///< the part that comes from the partner; may be empty
};
/// λ ~ Beta(α, α). CutMix: a box of a share 1 - λ of the area, cut off at the rim; λ is set to what it leaves.
Mix draw_mix(const MixOptions& options, Extent image, Rng& rng);

/// Each image with its partner from the other end of the batch: λ x + (1 - λ) x', or x' within the box. A new tensor.
/// images [image, channel, y, x], float.
at::Tensor mix_images(const at::Tensor& images, const Mix& mix);

/// Targets [image, class], float32, that go with it: each label has 1 - smoothing + smoothing / classes, the others
/// smoothing / classes, and partners' targets are mixed with λ. labels [image], int64.
at::Tensor mix_targets(const at::Tensor& labels, int64_t classes, const Mix& mix, double smoothing);

/// A draw of Beta(alpha, alpha).
double draw_beta(double alpha, Rng& rng);

}  // namespace monarch::data
