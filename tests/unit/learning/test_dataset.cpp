#include "monarch/solvers/learning/dataset.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "memory_source.hpp"
#include "monarch/core/error.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using Catch::Matchers::Contains;
using monarch::test::MemorySource;

namespace {

/// u[s, t, 0, i, j] = 1000 s + 100 t + 10 i + j, a = its first frame.
std::shared_ptr<MemorySource> trajectories(int64_t samples = 6, int64_t times = 9) {
  const auto s = at::arange(samples, at::kDouble).view({-1, 1, 1, 1, 1}),
             t = at::arange(times, at::kDouble).view({1, -1, 1, 1, 1}),
             i = at::arange(4, at::kDouble).view({1, 1, 1, -1, 1}), j = at::arange(6, at::kDouble);
  auto source = std::make_shared<MemorySource>();
  const at::Tensor u = s * 1000 + t * 100 + i * 10 + j;
  source->add("a", u.select(1, 0), false).add("u", u);
  return source;
}

TaskOptions rollout(int64_t input, int64_t horizon) {
  TaskOptions task;
  task.input_frames = input;
  task.horizon = horizon;
  return task;
}

}  // namespace

TEST_CASE("a rollout reads the frames behind its input, thinned on every axis") {
  DataOptions options;
  options.first_time = 1;
  options.time_stride = 2;
  options.grid_stride = {2, 3};
  const FieldRows rows(trajectories(), rollout(2, 2), options);
  REQUIRE(rows.names().input == "u");
  REQUIRE(rows.grid() == std::vector<int64_t>{2, 2});
  const std::vector<int64_t> ids{4, 1, 2};
  const FieldBatch batch = rows.read(ids, at::kDouble);
  REQUIRE(batch.input.sizes() == at::IntArrayRef{3, 2, 1, 2, 2});
  REQUIRE(batch.target.sizes() == at::IntArrayRef{3, 2, 1, 2, 2});
  REQUIRE(batch.input[0][0][0][1][1].item<double>() == 4000 + 100 + 20 + 3);
  REQUIRE(batch.input[1][1][0][0][0].item<double>() == 1000 + 300);
  REQUIRE(batch.target[2][0][0][0][1].item<double>() == 2000 + 500 + 3);
  REQUIRE(batch.target[2][1][0][0][0].item<double>() == 2000 + 700);
}

TEST_CASE("a rollout longer than the data is refused with the numbers, and cut for prediction") {
  REQUIRE_THROWS_WITH(FieldRows(trajectories(), rollout(4, 6), {}),
                      Contains("has 9 frames") && Contains("6 frames from frame 4"));
  DataOptions options;
  options.input = options.target = "u";
  const FieldRows rows(trajectories(), rollout(4, 6), options, false);
  REQUIRE(rows.target_frames() == 5);
  const FieldRows none(trajectories(), rollout(9, 6), options, false);
  REQUIRE(none.target_frames() == 0);
  const std::vector<int64_t> id{0};
  REQUIRE_FALSE(none.read(id, at::kFloat).target.defined());
}

TEST_CASE("maps take one field to another, a state to a later one, or to all times") {
  TaskOptions task;
  task.kind = TaskKind::map;
  task.input_frames = 1;
  task.horizon = 3;
  const std::vector<int64_t> id{2};
  DataOptions options;
  options.input = options.target = "u";
  REQUIRE(FieldRows(trajectories(), task, options).read(id, at::kDouble).target[0][0][0][0][0].item<double>() == 2300);
  options = {};
  options.target_first_time = 8;
  const FieldRows pair(trajectories(), task, options);  // a -> u
  REQUIRE(pair.names().input == "a");
  REQUIRE(pair.target_frames() == 1);
  REQUIRE(pair.read(id, at::kDouble).target[0][0][0][1][2].item<double>() == 2812);
  task.kind = TaskKind::space_time;
  task.horizon = 9;
  const FieldRows all(trajectories(), task, {});
  const auto batch = all.read(id, at::kDouble);
  REQUIRE(batch.input.sizes() == at::IntArrayRef{1, 1, 1, 4, 6});
  REQUIRE(batch.target[0][5][0][0][0].item<double>() == 2500);
}

TEST_CASE("a target whose first axis of grid is time is read as frames") {
  // x [sample, 6], y [sample, 5, 6]: a reader cannot know that 5 are times.
  auto source = std::make_shared<MemorySource>();
  const auto y = at::arange(3 * 5 * 6, at::kDouble).view({3, 1, 5, 6});
  source->add("x", y.select(2, 0), false).add("y", y, false);
  TaskOptions task;
  task.kind = TaskKind::space_time;
  task.input_frames = 1;
  task.horizon = 2;
  DataOptions options;
  options.target_first_time = 1;
  options.time_stride = 2;
  options.grid_stride = {3};
  const FieldRows rows(source, task, options);
  const std::vector<int64_t> id{1};
  const auto batch = rows.read(id, at::kDouble);
  REQUIRE(batch.input.sizes() == at::IntArrayRef{1, 1, 1, 2});
  REQUIRE(batch.target.sizes() == at::IntArrayRef{1, 2, 1, 2});
  REQUIRE(batch.target[0][1][0][1].item<double>() == 30 + 3 * 6 + 3);
}

TEST_CASE("times come from the file where it states them") {
  auto source = trajectories();
  source->coordinate("t", at::arange(1, 10, at::kDouble).view({1, -1}) * 0.5);
  const FieldRows rows(source, rollout(3, 4), {});
  REQUIRE(rows.times_known());
  REQUIRE(rows.start_time() == 1.5);
  REQUIRE(rows.target_times() == std::vector<double>{2, 2.5, 3, 3.5});
  const FieldRows unknown(trajectories(), rollout(3, 4), {});
  REQUIRE_FALSE(unknown.times_known());
  REQUIRE(unknown.target_times().front() > unknown.start_time());
}

TEST_CASE("fields that do not fit are named") {
  DataOptions options;
  options.target = "uu";
  REQUIRE_THROWS_WITH(FieldRows(trajectories(), rollout(1, 1), options), Contains("uu"));
  auto source = trajectories();
  source->add("b", at::zeros({6, 1, 4, 5}, at::kDouble), false);
  options = {};
  options.input = "b";
  options.target = "u";
  TaskOptions task = rollout(1, 1);
  task.kind = TaskKind::map;
  REQUIRE_THROWS_AS(FieldRows(source, task, options), ShapeError);
  options = {};
  options.grid_stride = {2, 2, 2};
  REQUIRE_THROWS_WITH(FieldRows(trajectories(), rollout(1, 1), options), Contains("grid_stride has 3 numbers"));
  auto two = std::make_shared<MemorySource>();
  two->add("p", at::zeros({2, 3, 1, 4}), true).add("q", at::zeros({2, 3, 1, 4}), true);
  REQUIRE_THROWS_WITH(FieldRows(two, rollout(1, 1), {}), Contains("p or q"));
}

TEST_CASE("samples in memory are those read from the file") {
  const auto source = trajectories();
  const auto rows = std::make_shared<const FieldRows>(source, rollout(2, 3), DataOptions{});
  FieldSet lazy(rows, {5, 0, 3, 4}, at::kFloat), loaded = lazy;
  loaded.load();
  const std::vector<int64_t> places{3, 0};
  const int64_t before = source->reads;
  const FieldBatch a = loaded.read(places);
  REQUIRE(source->reads == before);
  const FieldBatch b = lazy.read(places);
  REQUIRE(source->reads > before);
  REQUIRE(a.input.equal(b.input));
  REQUIRE(a.target.equal(b.target));
  REQUIRE(a.input[0][0][0][0][0].item<float>() == 4000);
  REQUIRE(a.input[1][0][0][0][0].item<float>() == 5000);
  REQUIRE(loaded.first(2).read(0, 9).input.size(0) == 2);
  REQUIRE(lazy.bytes() == 4.0 * 4 * (2 + 3) * 24);
}

TEST_CASE("a random split depends on seed and row only") {
  const auto a = split_order(50, Split::random, 1), b = split_order(50, Split::random, 1),
             c = split_order(50, Split::random, 2), longer = split_order(80, Split::random, 1);
  REQUIRE(a == b);
  REQUIRE(a != c);
  REQUIRE(std::set<int64_t>(a.begin(), a.end()).size() == 50);
  // More rows in the file do not change the order of those that were there.
  std::vector<int64_t> old;
  std::copy_if(longer.begin(), longer.end(), std::back_inserter(old), [](int64_t row) { return row < 50; });
  REQUIRE(old == a);
  const auto published = split_order(5, Split::published, 1);
  REQUIRE(published == std::vector<int64_t>{0, 1, 2, 3, 4});
}

TEST_CASE("the horizon of a curriculum grows from its start to the whole") {
  TaskOptions task = rollout(1, 10);
  REQUIRE(task.horizon_at(0) == 10);
  task.curriculum_start = 2;
  task.curriculum_epochs = 4;
  REQUIRE(task.horizon_at(0) == 2);
  REQUIRE(task.horizon_at(2) == 6);
  REQUIRE(task.horizon_at(4) == 10);
  REQUIRE(task.horizon_at(100) == 10);
}

TEST_CASE("options are read strictly and wrong words are answered with the nearest") {
  const auto task = [](const std::string& text) { return TaskOptions::from_config(Config::parse(text)); };
  REQUIRE(task("[task]\nkind='space-time'\ntime_axis='last'").time_last);
  REQUIRE(task("").input_frames == 10);
  REQUIRE(task("[task]\nkind='map'").input_frames == 1);
  REQUIRE_THROWS_WITH(task("[task]\nkind='rolout'"), Contains("did you mean \"rollout\"?"));
  REQUIRE_THROWS_WITH(task("[task]\nhorizon=0"), Contains("1 or more"));
  REQUIRE_THROWS_AS(task("[task]\nhorizon=3\ncurriculum_start=4"), ConfigError);
  const auto data = [](const std::string& text) { return DataOptions::from_config(Config::parse(text)); };
  REQUIRE_THROWS_WITH(data(""), Contains("neither"));
  REQUIRE_THROWS_WITH(data("[data]\nfile='a'\nsimulate='b'"), Contains("both"));
  REQUIRE_THROWS_WITH(data("[data]\nfile='a'\ngrid_stride=[1.5]"), Contains("1.5"));
  REQUIRE_THROWS_WITH(data("[data]\nfile='a'\n[[data.extra_test]]\nname='b'\nfil='c'"),
                      Contains("did you mean 'file'"));
  const auto extra = data("[data]\nfile='a'\n[[data.extra_test]]\nname='b'\ngrid_stride=[2]").extra_tests;
  REQUIRE(extra.size() == 1);
  REQUIRE(extra[0].grid_stride == std::vector<int64_t>{2});
  // A key that belongs to another mode is one that nothing reads.
  const Config unused = Config::parse("[task]\nkind='map'\nmode='bptt'");
  TaskOptions::from_config(unused);
  REQUIRE_THROWS_WITH(unused.finish(), Contains("task.mode"));
}
