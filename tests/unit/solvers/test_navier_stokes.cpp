#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/solvers/numerical/gaussian_random_field.hpp"
#include "monarch/solvers/numerical/navier_stokes.hpp"
#include "monarch/solvers/numerical/navier_stokes_simulation.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

constexpr double pi = M_PI;
const std::vector<Integrator> all_integrators = {Integrator::euler_cn, Integrator::cn_rk4, Integrator::etdrk4};

NavierStokesOptions options(int64_t n, double viscosity, Integrator integrator = Integrator::cn_rk4, double dt = 0) {
  NavierStokesOptions o;
  o.size = n;
  o.viscosity = viscosity;
  o.integrator = integrator;
  o.dt = dt;
  o.precision = at::kDouble;
  return o;
}

at::Tensor points(int64_t n) {
  return at::arange(n, at::kDouble) / n;
}
at::Tensor along_x(int64_t n) {
  return points(n).unsqueeze(1).expand({n, n});
}
at::Tensor along_y(int64_t n) {
  return points(n).unsqueeze(0).expand({n, n});
}

/// Wavenumbers of the full spectrum and 4π²|k|² with 1 at k = 0.
struct Waves {
  at::Tensor x, y, laplacian;
  explicit Waves(int64_t n) {
    const at::Tensor k = at::fft_fftfreq(n, 1.0 / static_cast<double>(n), at::kDouble);
    x = k.unsqueeze(1).expand({n, n});
    y = k.unsqueeze(0).expand({n, n});
    laplacian = (4 * pi * pi * (x.square() + y.square())).clone();
    laplacian[0][0] = 1;
  }
};

at::Scalar turn(double factor) {
  return c10::complex<double>(0, factor);
}

/// Only the modes |k_i| <= most.
at::Tensor truncated(const at::Tensor& w, int64_t most) {
  const Waves k(w.size(-1));
  const at::Tensor mask = at::logical_and(at::abs(k.x) <= most, at::abs(k.y) <= most);
  return at::real(at::fft_ifft2(at::fft_fft2(w) * mask));
}

at::Tensor random_fields(int64_t n, int64_t count, uint64_t seed = 1) {
  return gaussian_random_field(navier_stokes_law("2020"), 2, n, seed, 0, count);
}

/// u·∇w by full complex transforms, no dealiasing.
at::Tensor advection(const at::Tensor& w) {
  const Waves k(w.size(-1));
  const at::Tensor s = at::fft_fft2(w), psi = s / k.laplacian;
  const auto field = [](const at::Tensor& spectrum) { return at::real(at::fft_ifft2(spectrum)); };
  const at::Tensor u = field(psi * k.y * turn(2 * pi)), v = field(psi * k.x * turn(-2 * pi));
  return u * field(s * k.x * turn(2 * pi)) + v * field(s * k.y * turn(2 * pi));
}

/// The published scheme in its own terms: half spectra by rfft2, u·∇w masked after it is formed. mask = false: wrong.
at::Tensor published(const at::Tensor& w0, double viscosity, const at::Tensor& f, double dt, int64_t steps,
                     bool mask = true) {
  const int64_t n = w0.size(-1);
  const std::vector<int64_t> size = {n, n};
  const at::Tensor k = at::fft_fftfreq(n, 1.0 / static_cast<double>(n), at::kDouble);
  const at::Tensor kx = k.unsqueeze(1), ky = k.narrow(0, 0, n / 2 + 1).unsqueeze(0);  // −n/2 in the last column
  at::Tensor lap = (4 * pi * pi * (kx.square() + ky.square())).clone();
  lap[0][0] = 1;
  const double most = 2.0 / 3.0 * static_cast<double>(n / 2);
  const at::Tensor keep = at::logical_and(at::abs(kx) <= most, at::abs(ky) <= most);
  const auto field = [&](const at::Tensor& s) { return at::fft_irfft2(s, size); };
  const at::Tensor force = at::fft_rfft2(f);
  at::Tensor w = at::fft_rfft2(w0);
  for (int64_t i = 0; i < steps; ++i) {
    const at::Tensor psi = w / lap;
    const at::Tensor product = field(psi * ky * turn(2 * pi)) * field(w * kx * turn(2 * pi)) +
                               field(psi * kx * turn(-2 * pi)) * field(w * ky * turn(2 * pi));
    at::Tensor advected = at::fft_rfft2(product);
    if (mask) advected = advected * keep;
    w = (-dt * advected + dt * force + (1 - 0.5 * dt * viscosity * lap) * w) / (1 + 0.5 * dt * viscosity * lap);
  }
  return field(w);
}

double average(const at::Tensor& x) {
  return x.mean().item<double>();
}

}  // namespace

TEST_CASE("Navier-Stokes: the right-hand side of truncated fields is that of full transforms, at any even size") {
  for (const int64_t n : {4, 6, 8, 10, 16, 22, 24, 26, 30, 32, 48, 64}) {
    const at::Tensor w = truncated(at::randn({3, n, n}, at::kDouble), (n - 1) / 3);
    const at::Tensor exact = -truncated(advection(w), (n - 1) / 3);
    for (const auto dealiasing : {Dealiasing::products, Dealiasing::result}) {
      INFO("n = " << n << ", dealiasing " << static_cast<int>(dealiasing));
      auto o = options(n, 1e-3);
      o.dealiasing = dealiasing;
      at::Tensor found = NavierStokes(o).tendency(w);
      if (dealiasing == Dealiasing::result) found = truncated(found, (n - 1) / 3);
      const double size = exact.norm().item<double>() + 1e-3 * advection(w).norm().item<double>();
      REQUIRE((found - exact).norm().item<double>() <= 1e-12 * size);
    }
  }
}

TEST_CASE("Navier-Stokes: euler-cn is the published scheme to rounding") {
  for (const int64_t n : {16, 20, 30}) {
    // Not truncated: all modes, those at the highest wavenumber included, take part as published.
    const at::Tensor w0 = random_fields(n, 3) + 0.05 * at::randn({3, n, n}, at::kDouble) + 0.1;
    auto o = options(n, 1e-3, Integrator::euler_cn, 1e-2);
    o.cfl = 0;
    o.forcing = published_forcing(n);
    o.decaying_mean = true;
    const at::Tensor ours = NavierStokes(o).solve(w0, {0.7}).select(1, 0);
    REQUIRE(relative_error(ours, published(w0, 1e-3, o.forcing, 1e-2, 70)) <= 1e-12);
    REQUIRE(relative_error(ours, published(w0, 1e-3, o.forcing, 1e-2, 70, false)) > 1e-6);
    REQUIRE(relative_error(ours, published(w0, 1e-3, o.forcing, 1e-2, 69)) > 1e-6);
  }
}

TEST_CASE("Navier-Stokes: Taylor-Green vortices decay by viscosity alone, at the recorded times") {
  const int64_t n = 32;
  const double viscosity = 0.01;
  const at::Tensor w0 = ((2 * pi * 2 * along_x(n)).sin() * (2 * pi * 3 * along_y(n)).cos()).unsqueeze(0);
  REQUIRE(NavierStokes(options(n, viscosity)).tendency(w0).abs().max().item<double>() <= 1e-13);
  const std::vector<double> times = {0.03, 0.1, 0.2345, 1};
  for (const auto integrator : all_integrators) {
    const at::Tensor w = NavierStokes(options(n, viscosity, integrator, 0.005)).solve(w0, times);
    for (size_t i = 0; i < times.size(); ++i) {
      const at::Tensor exact = w0 * std::exp(-viscosity * 4 * pi * pi * 13 * times[i]);
      INFO(integrator_text(integrator) << " at " << times[i]);
      const double error = relative_error(w.select(1, static_cast<int64_t>(i)), exact);
      // Crank–Nicolson is of second order in the viscous term: it loses z³/12 a step, z = λh.
      const double rate = viscosity * 4 * pi * pi * 13, z = rate * 0.005;
      REQUIRE(error <= (integrator == Integrator::etdrk4 ? 0 : 1.01 * z * z / 12 * rate * times[i]) + 1e-12);
      REQUIRE(relative_error(w.select(1, static_cast<int64_t>(i)), 1.001 * exact) > 5e-4);
    }
  }
}

TEST_CASE("Navier-Stokes: the laminar Kolmogorov flow is steady") {
  const int64_t n = 32;
  for (const auto integrator : all_integrators) {
    auto o = options(n, 0.05, integrator, 0.01);
    o.forcing = kolmogorov_forcing(n, 0.5, 2);
    const at::Tensor w0 = (o.forcing / (0.05 * 4 * pi * pi * 4)).unsqueeze(0);
    INFO(integrator_text(integrator));
    REQUIRE(relative_error(NavierStokes(o).solve(w0, {1}).select(1, 0), w0) <= 1e-12);
  }
}

TEST_CASE("Navier-Stokes: a manufactured flow is steady under the forcing that makes it so") {
  const int64_t n = 32;
  const double viscosity = 0.01;
  const at::Tensor x = 2 * pi * along_x(n), y = 2 * pi * along_y(n);
  const at::Tensor w = 2 * (x + 2 * y).sin() + 1.5 * (3 * x - y).cos() + x.cos() * y.cos();
  const Waves k(n);
  const at::Tensor viscous = at::real(at::fft_ifft2(at::fft_fft2(w) * k.laplacian)) * viscosity;
  for (const auto integrator : all_integrators) {
    auto o = options(n, viscosity, integrator, 0.005);
    o.forcing = advection(w) + viscous;
    REQUIRE(advection(w).norm().item<double>() >= 0.1 * viscous.norm().item<double>());
    INFO(integrator_text(integrator));
    REQUIRE(relative_error(NavierStokes(o).solve(w.unsqueeze(0), {0.5}).select(1, 0), w.unsqueeze(0)) <= 1e-11);
    o.forcing = viscous;
    REQUIRE(relative_error(NavierStokes(o).solve(w.unsqueeze(0), {0.5}).select(1, 0), w.unsqueeze(0)) > 1e-3);
  }
}

TEST_CASE("Navier-Stokes: errors fall with the orders of the schemes") {
  const int64_t n = 32;
  const at::Tensor w0 = 8 * truncated(random_fields(n, 2), 6);
  const auto order = [&](Integrator integrator, double viscosity, double dt) {
    const auto run = [&](double step) {
      auto o = options(n, viscosity, integrator, step);
      o.cfl = 0;
      o.dealiasing = Dealiasing::products;
      o.forcing = published_forcing(n);
      return NavierStokes(o).solve(w0, {0.4});
    };
    const at::Tensor a = run(dt), b = run(dt / 2), c = run(dt / 4);
    return std::log2((a - b).norm().item<double>() / (b - c).norm().item<double>());
  };
  REQUIRE(order(Integrator::euler_cn, 1e-3, 2e-3) == Approx(1).margin(0.1));
  REQUIRE(order(Integrator::cn_rk4, 2e-2, 2e-2) == Approx(2).margin(0.15));
  REQUIRE(order(Integrator::cn_rk4, 0, 2e-2) == Approx(4).margin(0.3));
  REQUIRE(order(Integrator::etdrk4, 2e-2, 2e-2) == Approx(4).margin(0.3));
  REQUIRE(order(Integrator::etdrk4, 0, 2e-2) == Approx(4).margin(0.3));
}

TEST_CASE("Navier-Stokes: all integrators come to the same flow") {
  const int64_t n = 32;
  const at::Tensor w0 = truncated(random_fields(n, 2), 10);
  const auto run = [&](Integrator integrator, double dt) {
    auto o = options(n, 1e-3, integrator, dt);
    o.forcing = published_forcing(n);
    return NavierStokes(o).solve(w0, {1});
  };
  const at::Tensor reference = run(Integrator::etdrk4, 0.01);
  REQUIRE(relative_error(run(Integrator::cn_rk4, 0.01), reference) <= 1e-6);
  REQUIRE(relative_error(run(Integrator::euler_cn, 1e-3), reference) <= 2e-4);
}

TEST_CASE("Navier-Stokes: energy and enstrophy change as their budgets say") {
  const int64_t n = 32;
  auto o = options(n, 2e-3, Integrator::etdrk4, 0.002);
  o.forcing = published_forcing(n, 0.5);
  const double h = 0.01;
  const at::Tensor w0 = 3 * truncated(random_fields(n, 3), 10);
  const at::Tensor w = NavierStokes(o).solve(w0, {0.2 - 2 * h, 0.2 - h, 0.2, 0.2 + h, 0.2 + 2 * h});
  const auto budget = [&](int64_t i) { return flow_budget(w.select(1, i), o.viscosity, o.forcing); };
  const auto rate = [&](const auto& value) {  // fourth-order difference
    return (8 * (value(3) - value(1)) - (value(4) - value(0))) / (12 * h);
  };
  const FlowBudget at = budget(2);
  const at::Tensor energy = at.energy_input - at.energy_dissipation;
  const at::Tensor enstrophy = at.enstrophy_input - at.enstrophy_dissipation;
  REQUIRE(relative_error(rate([&](int64_t i) { return budget(i).energy; }), energy) <= 1e-6);
  REQUIRE(relative_error(rate([&](int64_t i) { return budget(i).enstrophy; }), enstrophy) <= 1e-5);
  REQUIRE(relative_error(energy, at.energy_input) > 1e-3);  // the dissipation matters
  // The quantities themselves, by their definitions.
  REQUIRE(relative_error(at.enstrophy, 0.5 * w.select(1, 2).square().mean(at::IntArrayRef({1, 2}))) <= 1e-13);
}

TEST_CASE("Navier-Stokes: without viscosity and forcing energy and enstrophy stay") {
  const int64_t n = 32;
  const at::Tensor w0 = 4 * truncated(random_fields(n, 2), 10);
  const auto drift = [&](double dt) {
    auto o = options(n, 0, Integrator::cn_rk4, dt);
    const at::Tensor w = NavierStokes(o).solve(w0, {1}).select(1, 0);
    const auto before = flow_budget(w0, 0), after = flow_budget(w, 0);
    return std::max(relative_error(after.energy, before.energy), relative_error(after.enstrophy, before.enstrophy));
  };
  // Not conserved by construction: by the fourth-order scheme, ever better with smaller steps.
  REQUIRE(drift(0.02) <= 1e-3);
  REQUIRE(drift(0.005) <= drift(0.02) / 100);
  REQUIRE(drift(0.0025) <= 1e-9);
  // The right-hand side itself conserves both, to rounding; and that of aliased products does not.
  const auto work = [&](const at::Tensor& w, Dealiasing dealiasing) {
    auto o = options(n, 0);
    o.dealiasing = dealiasing;
    const at::Tensor r = NavierStokes(o).tendency(w);
    return (average(w * r)) / std::sqrt(average(w.square()) * average(r.square()));
  };
  REQUIRE(std::abs(work(w0, Dealiasing::products)) <= 1e-13);
  REQUIRE(std::abs(work(w0, Dealiasing::result)) <= 1e-13);
  REQUIRE(std::abs(work(w0 + 0.5 * at::randn_like(w0), Dealiasing::result)) > 1e-5);
}

TEST_CASE("Navier-Stokes: the mean vorticity is conserved, or decays as published") {
  const int64_t n = 16;
  const at::Tensor w0 = random_fields(n, 2) + 0.3;
  for (const auto integrator : all_integrators) {
    auto o = options(n, 0.02, integrator, 0.01);
    o.forcing = published_forcing(n);
    INFO(integrator_text(integrator));
    REQUIRE(std::abs(average(NavierStokes(o).solve(w0, {2})) - 0.3) <= 1e-14);
    o.decaying_mean = true;
    REQUIRE(std::abs(average(NavierStokes(o).solve(w0, {2})) - 0.3 * std::exp(-0.04)) <= 1e-8);
  }
}

TEST_CASE("Navier-Stokes: modes beyond the products decay by viscosity and take the forcing") {
  const int64_t n = 16;
  const double viscosity = 0.01, rate = viscosity * 4 * pi * pi * 50;
  const at::Tensor high = (2 * pi * (7 * along_x(n) + along_y(n))).cos();
  auto o = options(n, viscosity, Integrator::etdrk4, 0.01);
  o.forcing = 0.3 * high;
  const at::Tensor w = NavierStokes(o).solve(high.unsqueeze(0), {0.1}).select(1, 0);
  const double left = std::exp(-0.1 * rate);
  REQUIRE(relative_error(w, (left + 0.3 * (1 - left) / rate) * high.unsqueeze(0)) <= 1e-13);
}

TEST_CASE("Navier-Stokes: single precision follows double precision") {
  const int64_t n = 64;
  const at::Tensor w0 = random_fields(n, 4);
  for (const auto integrator : all_integrators) {
    auto o = options(n, 1e-3, integrator, integrator == Integrator::euler_cn ? 0.01 : 0.04);
    o.forcing = published_forcing(n);
    const at::Tensor wide = NavierStokes(o).solve(w0, {1, 3});
    o.precision = at::kFloat;
    const at::Tensor narrow = NavierStokes(o).solve(w0, {1, 3});
    INFO(integrator_text(integrator));
    REQUIRE(narrow.scalar_type() == at::kFloat);
    REQUIRE(relative_error(narrow, wide) <= 1e-5);
    REQUIRE(relative_error(narrow, wide) > 1e-9);
  }
}

TEST_CASE("Navier-Stokes: a sample is the same bits in any batch and on any number of threads") {
  const int threads = at::get_num_threads();
  for (const auto precision : {at::kFloat, at::kDouble}) {
    for (const auto integrator : all_integrators) {
      for (const auto dealiasing : {Dealiasing::products, Dealiasing::result}) {
        const int64_t n = 20, count = 37;
        at::Tensor w0 = random_fields(n, count);
        // Speeds that differ by far, so that the steps of neighbours are split differently.
        w0 = w0 * at::linspace(0.5, 60, count, at::kDouble).view({count, 1, 1});
        auto o = options(n, 1e-2, integrator, 0.02);
        o.precision = precision;
        o.dealiasing = dealiasing;
        const NavierStokes solver(o);
        const auto run = [&](int64_t first, int64_t number) {
          return solver.solve(w0.narrow(0, first, number), {0.05, 0.13}, 10, Reduction::truncate);
        };
        INFO(integrator_text(integrator) << ", dealiasing " << static_cast<int>(dealiasing));
        at::set_num_threads(1);
        const at::Tensor all = run(0, count);
        for (const int64_t i : {0, 1, 17, 36}) REQUIRE(at::equal(run(i, 1), all.narrow(0, i, 1)));
        for (const int64_t width : {2, 4, 5, 8, 9, 16}) REQUIRE(at::equal(run(20, width), all.narrow(0, 20, width)));
        at::set_num_threads(3);
        REQUIRE(at::equal(run(0, count), all));
        at::set_num_threads(threads);
      }
    }
  }
}

TEST_CASE("Navier-Stokes: steps beyond the CFL number are split") {
  const int64_t n = 32;
  const at::Tensor w0 = 100 * truncated(random_fields(n, 2), 10);
  const auto run = [&](double dt, double cfl) {
    auto o = options(n, 1e-2, Integrator::cn_rk4, dt);
    o.cfl = cfl;
    return NavierStokes(o).solve(w0, {0.1});
  };
  const at::Tensor reference = run(2e-4, 0);
  REQUIRE(relative_error(run(0.1, 0.5), reference) <= 1e-2);
  REQUIRE(relative_error(run(0.1, 0.1), reference) <= 1e-4);
  REQUIRE_THROWS_AS(run(0.02, 0), BackendError);  // and without, the flow runs away
}

TEST_CASE("Navier-Stokes: fields are stored by stride or by truncation") {
  const int64_t n = 32;
  const auto o = options(n, 1e-2);
  const at::Tensor w0 = truncated(random_fields(n, 2), 7), rough = random_fields(n, 2);
  const NavierStokes solver(o);
  const auto run = [&](const at::Tensor& w, int64_t s, Reduction r) {
    return solver.solve(w, {0.01}, s, r).select(1, 0);
  };
  const at::Tensor whole = run(w0, n, Reduction::subsample);
  REQUIRE(at::equal(run(w0, 16, Reduction::subsample), whole.slice(1, 0, n, 2).slice(2, 0, n, 2)));
  const at::Tensor all = run(rough, n, Reduction::truncate);
  for (const int64_t s : {8, 15, 16, 22}) {
    REQUIRE(relative_error(run(rough, s, Reduction::truncate), reduce_field(all, s, Reduction::truncate)) <= 1e-12);
  }
  // What a coarse grid holds is the same either way; what it does not hold is folded by sub-sampling.
  REQUIRE(relative_error(reduce_field(w0, 16, Reduction::truncate), reduce_field(w0, 16, Reduction::subsample)) <=
          1e-12);
  REQUIRE(relative_error(reduce_field(rough, 16, Reduction::truncate), reduce_field(rough, 16, Reduction::subsample)) >
          1e-3);
}

TEST_CASE("Navier-Stokes: a flow that runs away is named with sample and time") {
  auto o = options(16, 1e-4, Integrator::cn_rk4, 0.5);
  o.cfl = 0;
  at::Tensor w0 = random_fields(16, 3);
  w0[1] *= 1e4;
  REQUIRE_THROWS_WITH(NavierStokes(o).solve(w0, {20, 40}), Contains("sample 1") && Contains("time 20"));
  o.cfl = 1;
  w0[1] *= 1e4;
  REQUIRE_THROWS_AS(NavierStokes(o).solve(w0, {20}), BackendError);
  w0[2][0][0] = std::nan("");
  w0[1] = 0;
  REQUIRE_THROWS_WITH(NavierStokes(o).solve(w0, {1}), Contains("sample 2") && Contains("not finite"));
}

TEST_CASE("Navier-Stokes: options and fields that make no sense are refused") {
  const auto with = [](auto change) {
    NavierStokesOptions o = options(16, 1e-3);
    change(o);
    return o;
  };
  REQUIRE_THROWS_AS(NavierStokes(with([](auto& o) { o.size = 15; })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokes(with([](auto& o) { o.size = 2; })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokes(with([](auto& o) { o.viscosity = -1; })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokes(with([](auto& o) { o.viscosity = std::nan(""); })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokes(with([](auto& o) { o.dt = -0.1; })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokes(with([](auto& o) { o.cfl = -1; })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokes(with([](auto& o) { o.precision = at::kHalf; })), DtypeError);
  REQUIRE_THROWS_AS(NavierStokes(with([](auto& o) { o.forcing = at::zeros({8, 8}, at::kDouble); })), ShapeError);
  REQUIRE_THROWS_AS(NavierStokes(with([](auto& o) { o.forcing = at::full({16, 16}, NAN, at::kDouble); })), ConfigError);
  const NavierStokes solver(options(16, 1e-3));
  const at::Tensor w0 = at::zeros({1, 16, 16}, at::kDouble);
  REQUIRE_THROWS_AS(solver.solve(at::zeros({16, 16}, at::kDouble), {1}), ShapeError);
  REQUIRE_THROWS_AS(solver.solve(at::zeros({1, 16, 16}, at::kComplexDouble), {1}), DtypeError);
  REQUIRE_THROWS_AS(solver.solve(w0, {1, 1}), ConfigError);
  REQUIRE_THROWS_AS(solver.solve(w0, {0}), ConfigError);
  REQUIRE_THROWS_AS(solver.solve(w0, {1}, 5), ConfigError);
  REQUIRE_THROWS_AS(solver.solve(w0, {1}, 32, Reduction::truncate), ConfigError);
  REQUIRE_THROWS_AS(integrator_from_text("rk4"), ConfigError);
}

TEST_CASE("the Navier-Stokes simulation gives the published variables, sample by sample") {
  NavierStokesSimulationOptions o;
  o.grid = 32;
  o.stored = 16;
  o.duration = 1.5;
  o.interval = 0.5;
  const NavierStokesSimulation simulation(o);
  REQUIRE(simulation.variables()[0].name == "a");
  REQUIRE(simulation.variables()[1].shape == std::vector<int64_t>{16, 16, 3});
  REQUIRE(at::equal(simulation.constants().at("t"), at::tensor({0.5, 1.0, 1.5}, at::kDouble).unsqueeze(0)));
  REQUIRE(simulation.parameters().at("viscosity") == 1e-3);
  REQUIRE_THAT(simulation.describe(),
               Contains("'2020'") && Contains("0.26") && Contains("cn-rk4") && Contains("dt = 0.04"));
  const auto all = simulation.samples(7, 0, 5), part = simulation.samples(7, 3, 2);
  REQUIRE(all[1].sizes() == at::IntArrayRef({5, 16, 16, 3}));
  REQUIRE(at::equal(part[0], all[0].narrow(0, 3, 2)));
  REQUIRE(at::equal(part[1], all[1].narrow(0, 3, 2)));
  // Time comes last, and `a` is where `u` starts from.
  const at::Tensor w0 = gaussian_random_field(navier_stokes_law("2020"), 2, 32, 7, 0, 5);
  REQUIRE(relative_error(all[0], w0.slice(1, 0, 32, 2).slice(2, 0, 32, 2)) <= 1e-6);
  const at::Tensor w = simulation.solver().solve(w0, {0.5}, 16);
  REQUIRE(at::equal(all[1].select(3, 0), w.select(1, 0)));

  const auto with = [&](auto change) {
    auto changed = o;
    change(changed);
    return changed;
  };
  REQUIRE_THROWS_AS(NavierStokesSimulation(with([](auto& c) { c.viscosity = 0; })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokesSimulation(with([](auto& c) { c.grid = 33; })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokesSimulation(with([](auto& c) { c.stored = 24; })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokesSimulation(with([](auto& c) { c.interval = 0.7; })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokesSimulation(with([](auto& c) { c.forcing = "turbulent"; })), ConfigError);
  REQUIRE_THROWS_AS(NavierStokesSimulation(with([](auto& c) { c.amplitude = "2021"; })), ConfigError);
  // The published grids by default.
  const auto grid_for = [](double viscosity) {
    NavierStokesSimulationOptions c;
    c.viscosity = viscosity;
    return NavierStokesSimulation(c).parameters().at("grid");
  };
  REQUIRE(grid_for(1e-3) == 64);
  REQUIRE(grid_for(1e-4) == 256);
}
