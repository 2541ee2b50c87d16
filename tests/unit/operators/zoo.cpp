#include "zoo.hpp"

#include <ATen/ATen.h>

#include <utility>

#include "monarch/operators/coils.hpp"
#include "monarch/operators/composition.hpp"
#include "monarch/operators/finite_difference.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/monarch/convolution.hpp"
#include "monarch/operators/monarch/mm_star.hpp"
#include "monarch/operators/monarch/monarch_operator.hpp"
#include "monarch/operators/monarch/order.hpp"
#include "monarch/operators/nufft.hpp"
#include "monarch/operators/sampling.hpp"
#include "monarch/operators/wavelet.hpp"
#include "support/contract.hpp"

namespace monarch::test {
namespace {

using namespace operators;
using Shape = std::vector<int64_t>;

const std::vector<at::ScalarType> all_types = {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble};
const std::vector<at::ScalarType> complex_types = {at::kComplexFloat, at::kComplexDouble};
const std::vector<Shape> shapes = {{}, {1}, {7}, {4, 6}, {3, 1, 5}};

/// About two of three true.
at::Tensor mask_of(const Shape& shape, at::Device device) {
  return random_vector({shape, at::kFloat, device}, "mask").gt(-0.4);
}

/// A small operator with a domain unlike its codomain: a mask in the Fourier domain of all coils.
OperatorPtr encoding(int64_t maps, int64_t coils, at::ScalarType dtype, at::Device device) {
  const Space images{{coils, 1, 5, 6}, dtype, device};
  const OperatorPtr sensitivities =
      std::make_shared<CoilSensitivities>(random_vector({{maps, coils, 1, 5, 6}, dtype, device}, "maps"));
  const OperatorPtr fourier = std::make_shared<Fourier>(images, FourierOptions{.dimensions = 2, .centred = true});
  const OperatorPtr sampling = std::make_shared<Sampling>(images, mask_of({5, 1}, device));
  return sampling * fourier * sensitivities;
}

class Builder {
 public:
  explicit Builder(at::Device device) : device_(device) {}

  /// Adds the class with a factory that makes it on the device.
  template <class T, class... Arguments>
  void add(const std::string& name, Arguments... arguments) {
    entries_.push_back({name, [=] { return std::make_shared<const T>(arguments...); }});
  }

  void elementwise() {
    for (const auto dtype : all_types) {
      for (const Shape& shape : shapes) {
        const Space space{shape, dtype, device_};
        add<Identity>("Identity", space);
        add<Diagonal>("Diagonal", space, random_vector(space, "diagonal"));
        add<Sampling>("Sampling", space, mask_of(shape, device_));
      }
      const Space coils{{3, 2, 5}, dtype, device_};
      add<Diagonal>("Diagonal", coils, random_vector({{2, 1}, dtype, device_}, "diagonal"));
      add<Sampling>("Sampling", coils, mask_of({1, 5}, device_));
    }
    // A real diagonal on a complex space.
    add<Diagonal>("Diagonal", Space{{2, 5}, at::kComplexFloat, device_},
                  random_vector({{5}, at::kFloat, device_}, "diagonal"));
  }

  void coils() {
    for (const auto dtype : complex_types) {
      const std::vector<Shape> extents = {{1, 1, 1, 1, 1}, {1, 3, 1, 4, 5}, {2, 3, 2, 3, 5}, {3, 1, 1, 7, 1}};
      for (const Shape& shape : extents) {
        add<CoilSensitivities>("CoilSensitivities", random_vector({shape, dtype, device_}, "maps"));
      }
    }
  }

  void fourier() {
    const std::vector<std::pair<Shape, int64_t>> sizes = {{{1}, 1},       {{7}, 1},       {{2, 12}, 1},   {{4, 6}, 2},
                                                          {{3, 5, 1}, 2}, {{5, 4, 3}, 3}, {{2, 1, 13}, 3}};
    for (const auto dtype : complex_types) {
      for (const auto& [shape, dimensions] : sizes) {
        for (const bool centred : {false, true}) {
          for (const auto normalisation : {Normalisation::none, Normalisation::ortho, Normalisation::inverse}) {
            const bool inverse = normalisation == Normalisation::inverse;
            add<Fourier>("Fourier", Space{shape, dtype, device_},
                         FourierOptions{dimensions, inverse, centred, normalisation});
          }
        }
      }
    }
  }

  void differences() {
    const std::vector<std::pair<Shape, Shape>> sizes = {
        {{1}, {0}}, {{7}, {0}}, {{4, 5}, {0, 1}}, {{3, 2, 5}, {2, 0}}, {{2, 1, 3}, {-2, -1}}};
    for (const auto dtype : all_types) {
      for (const auto& [shape, axes] : sizes) {
        for (const auto boundary : {Boundary::periodic, Boundary::neumann}) {
          add<FiniteDifference>("FiniteDifference", Space{shape, dtype, device_}, axes, boundary);
        }
      }
    }
  }

  void wavelets() {
    if (!device_.is_cpu()) return;
    for (const auto dtype : all_types) {
      const auto space = [&](Shape shape) { return Space{std::move(shape), dtype, device_}; };
      add<Wavelet>("Wavelet", space({1}), WaveletOptions{.order = 1, .levels = 1, .dimensions = 1});
      add<Wavelet>("Wavelet", space({13}), WaveletOptions{.order = 2, .levels = 2, .dimensions = 1, .shift = {3}});
      add<Wavelet>("Wavelet", space({8, 6}), WaveletOptions{.order = 1, .levels = 1});
      add<Wavelet>("Wavelet", space({2, 7, 10}), WaveletOptions{.order = 3, .levels = 2, .shift = {-1, 4}});
      add<Wavelet>("Wavelet", space({3, 5, 4}), WaveletOptions{.order = 2, .levels = 1, .dimensions = 3});
      add<Wavelet>("Wavelet", space({33, 1}), WaveletOptions{});
    }
  }

  void nuffts() {
    if (!device_.is_cpu()) return;
    for (const auto dtype : complex_types) {
      for (const auto& [shape, axes] : std::vector<std::pair<Shape, int64_t>>{
               {{1}, 1}, {{7}, 1}, {{2, 5, 6}, 2}, {{5, 1}, 2}, {{3, 4, 5}, 3}, {{2, 1, 4, 3}, 3}}) {
        const Space space{shape, dtype, device_};
        at::Tensor k = random_vector({{11, axes}, at::kDouble, device_}, "trajectory").sigmoid().sub(0.5);
        for (int64_t a = 0; a < axes; ++a) k.select(1, a).mul_(shape[shape.size() - 1 - a]);
        add<Nufft>("Nufft", space, k, NufftOptions{});
        add<Nufft>("Nufft", space, k, NufftOptions{1e-3, 1.25, NufftKernel::kaiser_bessel});
        add<NufftNormal>("NufftNormal", space, k, at::Tensor());
        add<NufftNormal>("NufftNormal", space, k, random_vector({{11}, at::kDouble, device_}, "weights"));
      }
    }
  }

  void monarchs() {
    const std::vector<MonarchSizes> sizes = {
        {1, 1, 1, 1, 1, 1}, {2, 4, 3, 4, 2, 2}, {3, 4, 2, 6, 3, 2}, {4, 3, 1, 2, 5, 6}};
    for (const auto dtype : all_types) {
      const auto tensor = [&](Shape shape, const char* name) { return random_vector({shape, dtype, device_}, name); };
      for (const MonarchSizes& z : sizes) {
        const MonarchFactors f{tensor({z.k, z.q, z.p}, "w1"), tensor({z.l, z.s, z.r}, "w2")};
        add<Monarch>("Monarch", f);
        add<Monarch>("Monarch", f, z.in() - z.k + 1, z.out() - z.l + 1);
      }
      const MonarchFactors a{tensor({2, 4, 3}, "a1"), tensor({4, 2, 2}, "a2")};
      const MonarchFactors b{tensor({3, 2, 2}, "b1"), tensor({2, 5, 3}, "b2")};
      entries_.push_back({"Product", [=] { return mm_star(a, b, 7, 9); }});
      add<OrderMonarch>("OrderMonarch", OrderFactors{{tensor({3, 2, 4}, "w1"), tensor({2, 5, 3}, "w2")}, {}});
      const std::vector<at::Tensor> three = {tensor({6, 3, 2}, "w1"), tensor({6, 2, 3}, "w2"), tensor({6, 3, 2}, "w3")};
      const at::Tensor order = at::arange(11, -1, -1, at::TensorOptions().dtype(at::kLong).device(device_));
      add<OrderMonarch>("OrderMonarch", OrderFactors{three, order});
      for (const auto mode : {ConvolutionMode::circular, ConvolutionMode::causal}) {
        for (const int64_t n : {1, 5, 12}) {
          add<MonarchConvolution>("MonarchConvolution", tensor({2, (n + 1) / 2}, "kernel"), n, mode);
        }
      }
    }
    for (const auto precision : {at::kFloat, at::kDouble}) {
      ConstructionOptions options;
      options.precision = precision;
      options.device = device_;
      const TransformFactors dft = monarch_dft(12, {.inverse = true, .centred = true}, options);
      const TransformFactors low = monarch_keep_outputs(monarch_dft(10, {}, options), low_frequencies(10, 3));
      const TransformFactors dct = monarch_real_transform(9, RealTransform::dct4, Normalisation::ortho, options);
      const TransformFactors cut = monarch_keep_inputs(monarch_hadamard(8, Normalisation::none, options), {1, 6, 2});
      using Axes = std::vector<TransformFactors>;
      for (const auto dtype : {precision, c10::toComplexType(precision)}) {
        const auto space = [&](Shape shape) { return Space{std::move(shape), dtype, device_}; };
        add<MonarchTransform>("MonarchTransform", space({12}), Axes{dft});
        add<MonarchTransform>("MonarchTransform", space({2, 3}), Axes{cut});
        add<MonarchTransform>("MonarchTransform", space({10, 12}), Axes{low, dft});
        add<MonarchTransform>("MonarchTransform", space({9, 10}), Axes{dct, low});
        add<MonarchTransform>("MonarchTransform", space({2, 9, 3}), Axes{dct, cut});
        add<MonarchTransform>("MonarchTransform", space({24}), Axes{monarch_real_pairs(dft)});
      }
    }
  }

  void compositions() {
    for (const auto dtype : all_types) {
      const Space space{{4, 5}, dtype, device_};
      const OperatorPtr d = std::make_shared<Diagonal>(space, random_vector(space, "first"));
      const OperatorPtr e = std::make_shared<Diagonal>(space, random_vector({{5}, dtype, device_}, "second"));
      const OperatorPtr difference = std::make_shared<FiniteDifference>(space, Shape{0, 1}, Boundary::periodic);
      add<Scaled>("Scaled", std::complex<double>(-1.5), difference);
      add<Product>("Product", difference, d);
      add<Sum>("Sum", d, e);
      add<Sum>("Sum", difference, difference * d);
      add<Stack>("Stack", std::vector<OperatorPtr>{d});
      add<Stack>("Stack", std::vector<OperatorPtr>{d, e, d * e});
      add<Stack>("Stack", std::vector<OperatorPtr>{difference, difference * d});
      add<Adjoint>("Adjoint", difference);
      add<Adjoint>("Adjoint", difference * d + difference);
    }
    for (const auto dtype : complex_types) {
      const OperatorPtr one = encoding(1, 3, dtype, device_), two = encoding(2, 3, dtype, device_);
      add<Scaled>("Scaled", std::complex<double>(0.3, -2), one);
      add<Product>("Product", one, OperatorPtr(std::make_shared<Identity>(one->domain())));
      add<Product>("Product", adjoint_of(one), two);
      add<Sum>("Sum", one, std::complex<double>(0, 1) * one);
      add<Stack>("Stack", std::vector<OperatorPtr>{two, std::complex<double>(0, 2) * two});
      add<Adjoint>("Adjoint", two);
    }
  }

  std::vector<ZooEntry> take() { return std::move(entries_); }

 private:
  at::Device device_;
  std::vector<ZooEntry> entries_;
};

}  // namespace

std::vector<ZooEntry> zoo(at::Device device) {
  Builder builder(device);
  builder.elementwise();
  builder.coils();
  builder.fourier();
  builder.differences();
  builder.wavelets();
  builder.nuffts();
  builder.monarchs();
  builder.compositions();
  return builder.take();
}

}  // namespace monarch::test
