#include "monarch/mri/sampling_mask.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"

namespace monarch::mri {
namespace {

constexpr int kBisections = 24;

const std::vector<std::pair<MaskKind, std::string>>& names() {
  static const std::vector<std::pair<MaskKind, std::string>> all{{MaskKind::random, "random"},
                                                                 {MaskKind::equispaced, "equispaced"},
                                                                 {MaskKind::equispaced_fraction, "equispaced-fraction"},
                                                                 {MaskKind::magic, "magic"},
                                                                 {MaskKind::poisson_disc, "poisson-disc"}};
  return all;
}

void mark(std::vector<char>& lines, double place) {
  const auto i = static_cast<int64_t>(std::nearbyint(place));
  if (i >= 0 && i < static_cast<int64_t>(lines.size())) lines[static_cast<size_t>(i)] = 1;
}

/// The symmetric lines of `magic`, before the centre is put on top. Positive frequencies come first in `half`.
void mark_symmetric(std::vector<char>& lines, int64_t step, int64_t offset) {
  const auto n = static_cast<int64_t>(lines.size()), centre = n / 2;
  const int64_t above = offset % 2 == 0 ? offset + 1 : offset + 2, below = offset % 2 == 0 ? offset + 2 : offset - 1;
  // Frequency k >= 0 is line centre + k, frequency -1 - j line centre - 1 - j.
  for (int64_t k = above; centre + k < n; k += step) lines[static_cast<size_t>(centre + k)] = 1;
  for (int64_t j = below; centre - 1 - j >= 0; j += step) lines[static_cast<size_t>(centre - 1 - j)] = 1;
}

std::vector<char> sampled_lines(int64_t n, const MaskOptions& o, Rng& rng) {
  const double r = o.acceleration, size = static_cast<double>(n);
  const double fraction = o.centre_fraction > 0 ? o.centre_fraction : 0.32 / r;
  const auto low = static_cast<int64_t>(std::nearbyint(size * fraction));
  std::vector<char> lines(static_cast<size_t>(n), 0);
  const double wanted = size / r;
  if (o.kind != MaskKind::equispaced) {
    check<ConfigError>(
        static_cast<double>(low) < wanted || r <= 1,
        [&] {
          return fmt::format(
              "a mask of {} lines at acceleration {:g}: the centre of {} lines leaves none of the {:.1f} "
              "for the rest",
              n, r, low, wanted);
        },
        low > 0
            ? fmt::format("ask for less than {:.3g}, or for a smaller centre_fraction", size / static_cast<double>(low))
            : "");
  }
  if (o.kind == MaskKind::random) {
    const double probability = (wanted - static_cast<double>(low)) / static_cast<double>(n - low);
    for (char& line : lines) line = rng.uniform() < probability;
  } else if (o.kind == MaskKind::equispaced) {
    const auto step = std::max<int64_t>(1, std::llround(r));
    for (int64_t i = rng.below(step); i < n; i += step) lines[static_cast<size_t>(i)] = 1;
  } else if (o.kind == MaskKind::equispaced_fraction) {
    const double l = static_cast<double>(low), step = r * (l - size) / (l * r - size);
    const double first = static_cast<double>(rng.below(std::max<int64_t>(1, std::llround(step))));
    for (double place = first; place < size - 1; place += step) mark(lines, place);
  } else {
    const auto rest = std::max<int64_t>(1, static_cast<int64_t>(std::nearbyint(wanted)) - low);
    const auto step = static_cast<int64_t>(std::nearbyint(size / static_cast<double>(rest)));
    mark_symmetric(lines, step, rng.below(step));
  }
  const int64_t first = (n - low + 1) / 2;
  std::fill_n(lines.begin() + first, std::min(low, n - first), 1);
  return lines;
}

/// Points of the plane in a random order, and how far apart they should be.
class PoissonDisc {
 public:
  PoissonDisc(int64_t ny, int64_t nx, const MaskOptions& o, Rng& rng) : ny_(ny), nx_(nx), options_(o) {
    const auto half = [](int64_t n) { return 0.5 * static_cast<double>(n); };
    spacing_.resize(static_cast<size_t>(ny * nx));
    centre_.assign(spacing_.size(), 0);
    const int64_t side = o.calibration, y0 = ny / 2 - side / 2, x0 = nx / 2 - side / 2;
    for (int64_t y = 0; y < ny; ++y) {
      for (int64_t x = 0; x < nx; ++x) {
        const auto i = static_cast<size_t>(y * nx + x);
        const double distance =
            std::hypot(static_cast<double>(y - ny / 2) / half(ny), static_cast<double>(x - nx / 2) / half(nx));
        spacing_[i] = std::pow(distance, o.density);
        const bool centre = y >= y0 && y < y0 + side && x >= x0 && x < x0 + side;
        centre_[i] = centre;
        count_centre_ += centre;
        if (!centre && (!o.elliptical || distance <= 1)) order_.push_back(static_cast<int64_t>(i));
      }
    }
    for (size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[static_cast<size_t>(rng.below(static_cast<int64_t>(i)))]);
  }

  std::vector<char> with_points(int64_t wanted) const {
    const auto possible = static_cast<int64_t>(order_.size()) + count_centre_;
    const double all = static_cast<double>(ny_ * nx_);
    check<ConfigError>(
        wanted >= count_centre_ && wanted <= possible,
        [&] {
          return fmt::format(
              "a Poisson-disc mask of {} × {} at acceleration {:g} would have {} points, of which {} in "
              "the centre of {}²; at most {} can be sampled",
              ny_, nx_, options_.acceleration, wanted, count_centre_, options_.calibration, possible);
        },
        fmt::format("accelerations from {:.3g} to {:.3g} are possible here; a smaller calibration reaches further",
                    all / static_cast<double>(possible),
                    all / static_cast<double>(std::max<int64_t>(count_centre_, 1))));
    // The number of points falls as distances grow, not quite monotonically. The fewest that are enough are taken:
    // at scale 0 all are placed. What is too much goes, last of the order first, which keeps all distances.
    double low = 0, high = static_cast<double>(std::max(ny_, nx_));
    auto [best, count] = placed(0);
    for (int step = 0; step < kBisections && count != wanted; ++step) {
      const double scale = 0.5 * (low + high);
      auto [points, found] = placed(scale);
      (found > wanted ? low : high) = scale;
      if (found < wanted || found >= count) continue;
      best = std::move(points);
      count = found;
    }
    for (auto i = order_.rbegin(); i != order_.rend() && count > wanted; ++i) {
      count -= best[static_cast<size_t>(*i)];
      best[static_cast<size_t>(*i)] = 0;
    }
    return best;
  }

 private:
  /// Every point of the order that no earlier one is too near to. scale: distance on the rim, in pixels.
  std::pair<std::vector<char>, int64_t> placed(double scale) const {
    std::vector<char> points = centre_, blocked(centre_.size(), 0);
    int64_t count = count_centre_;
    for (const int64_t i : order_) {
      if (blocked[static_cast<size_t>(i)]) continue;
      points[static_cast<size_t>(i)] = 1;
      ++count;
      const double radius = std::max(1.0, scale * spacing_[static_cast<size_t>(i)]);
      const auto reach = static_cast<int64_t>(radius);
      const int64_t y = i / nx_, x = i % nx_;
      for (int64_t v = std::max<int64_t>(0, y - reach); v <= std::min(ny_ - 1, y + reach); ++v) {
        const double dy = static_cast<double>(v - y);
        const auto width = static_cast<int64_t>(std::sqrt(std::max(0.0, radius * radius - dy * dy)));
        for (int64_t u = std::max<int64_t>(0, x - width); u <= std::min(nx_ - 1, x + width); ++u) {
          const double dx = static_cast<double>(u - x);
          if (dy * dy + dx * dx < radius * radius) blocked[static_cast<size_t>(v * nx_ + u)] = 1;
        }
      }
    }
    return {std::move(points), count};
  }

  int64_t ny_, nx_, count_centre_ = 0;
  const MaskOptions& options_;
  std::vector<double> spacing_;  ///< (d/d_edge)^density
  std::vector<char> centre_;
  std::vector<int64_t> order_;
};

}  // namespace

at::Tensor sampling_mask(at::IntArrayRef extent, int64_t axis, const MaskOptions& o, uint64_t seed,
                         const std::string& scan_id) {
  check<ShapeError>(extent.size() == 2 && extent[0] >= 1 && extent[1] >= 1 && (axis == 0 || axis == 1), [&] {
    return fmt::format("a sampling mask of {} along axis {}: two extents, and axis 0 or 1", shape_text(extent), axis);
  });
  check<ConfigError>(o.acceleration >= 1 && std::isfinite(o.acceleration),
                     [&] { return fmt::format("a sampling mask at acceleration {}: from 1 on", o.acceleration); });
  check<ConfigError>(o.centre_fraction >= 0 && o.centre_fraction <= 1 && o.calibration >= 0, [&] {
    return fmt::format("a sampling mask with centre_fraction {} and calibration {}", o.centre_fraction, o.calibration);
  });
  check<ConfigError>(o.density >= 0 && o.density <= 16,
                     [&] { return fmt::format("a sampling mask with density {}: from 0 to 16", o.density); });
  const int64_t ny = extent[0], nx = extent[1];
  if (o.acceleration == 1) return at::ones({ny, nx}, at::kBool);
  Rng rng(seed, fmt::format("{} mask {}", mask_kind_name(o.kind), scan_id));
  if (o.kind != MaskKind::poisson_disc) {
    const std::vector<char> lines = sampled_lines(extent[static_cast<size_t>(axis)], o, rng);
    const at::Tensor line = at::tensor(std::vector<uint8_t>(lines.begin(), lines.end())).to(at::kBool);
    return (axis == 0 ? line.unsqueeze(1) : line.unsqueeze(0)).expand({ny, nx}).contiguous();
  }
  const auto wanted = std::max<int64_t>(1, std::llround(static_cast<double>(ny * nx) / o.acceleration));
  const std::vector<char> points = PoissonDisc(ny, nx, o, rng).with_points(wanted);
  return at::tensor(std::vector<uint8_t>(points.begin(), points.end())).to(at::kBool).view({ny, nx});
}

std::string mask_kind_name(MaskKind kind) {
  for (const auto& [known, name] : names())
    if (known == kind) return name;
  return "unknown";
}

MaskKind parse_mask_kind(const std::string& name) {
  std::vector<std::string> all;
  for (const auto& [kind, known] : names()) {
    if (known == name) return kind;
    all.push_back(known);
  }
  const std::string near = closest_match(name, all);
  fail<ConfigError>(fmt::format("no sampling mask is called '{}'{}", name,
                                near.empty() ? "" : fmt::format("; did you mean '{}'?", near)),
                    join_or(all));
}

}  // namespace monarch::mri
