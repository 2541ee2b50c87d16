#include "monarch/solvers/numerical/kernels/lines.hpp"

#include <cmath>
#include <numbers>

namespace monarch::solvers::kernels {
namespace {

std::vector<int64_t> radices_of(int64_t n) {
  std::vector<int64_t> radices, odd;
  int64_t twos = 0;
  for (; n % 2 == 0; n /= 2) ++twos;
  for (int64_t p = 3; n > 1;) {
    if (p * p > n) p = n;
    while (n % p == 0) {
      odd.push_back(p);
      n /= p;
    }
    p += 2;
  }
  // Eights where what is left is not one: 4·4 rather than 8·2.
  while (twos >= 3 && twos != 4) {
    radices.push_back(8);
    twos -= 3;
  }
  for (; twos >= 2; twos -= 2) radices.push_back(4);
  if (twos) radices.push_back(2);
  radices.insert(radices.end(), odd.begin(), odd.end());
  return radices;
}

}  // namespace

template <class T>
LinePlan<T>::LinePlan(int64_t points) : n(points) {
  const auto root = [](std::vector<T>& to, int64_t turn, int64_t turns) {
    const long double angle =
        2 * std::numbers::pi_v<long double> * static_cast<long double>(turn % turns) / static_cast<long double>(turns);
    to.push_back(static_cast<T>(std::cos(angle)));
    to.push_back(static_cast<T>(std::sin(angle)));
  };
  int64_t length = n;
  for (const int64_t radix : radices_of(n)) {
    Stage stage{radix, length, {}, {}};
    const int64_t part = length / radix;
    if (part > 1) {
      for (int64_t j = 0; j < part; ++j) {
        for (int64_t p = 1; p < radix; ++p) root(stage.twiddles, j * p, length);
      }
    }
    for (int64_t q = 0; q < radix; ++q) root(stage.roots, q, radix);
    stages.push_back(std::move(stage));
    length = part;
  }
  for (int64_t place = 0; place < n; ++place) {
    // Part p of a block of the stage holds the points p + radix · (points of the part).
    int64_t point = 0, step = 1, rest = place;
    for (const Stage& stage : stages) {
      const int64_t part = stage.length / stage.radix;
      point += step * (rest / part);
      step *= stage.radix;
      rest %= part;
    }
    order.push_back(point);
  }
}

template struct LinePlan<float>;
template struct LinePlan<double>;

}  // namespace monarch::solvers::kernels
