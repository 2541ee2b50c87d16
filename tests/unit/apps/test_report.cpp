#include <ATen/ATen.h>
#include <fmt/format.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <limits>

#include "apps/report/report.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::report;

namespace {

data::ImageSeries series_of(const at::Tensor& pixels) {
  data::ImageSeries series;
  series.pixels = pixels;
  series.index.resize(static_cast<size_t>(pixels.size(0)));
  series.orientation.resize(series.index.size());
  for (size_t i = 0; i < series.index.size(); ++i) series.index[i].slice = static_cast<int64_t>(i);
  series.field_of_view_mm = {static_cast<double>(pixels.size(3)), static_cast<double>(pixels.size(2)), 5};
  return series;
}

/// 3 slices of 8 x 6; slice s is 10 (s + 1) everywhere, and 100 at (x 5, y 2).
at::Tensor example_pixels() {
  at::Tensor pixels = at::empty({3, 1, 6, 8});
  for (int64_t s = 0; s < 3; ++s) pixels[s].fill_(10.0f * static_cast<float>(s + 1));
  pixels.select(2, 2).select(2, 5).fill_(100);
  return pixels;
}

ReportContent example() {
  ReportContent content;
  content.title = "scan.h5";
  content.method = "rss: root of the sum of squares over coils";
  content.images = series_of(example_pixels());
  content.tables = {{"Parameters", {{"iterations", "30"}, {"lambda", "0.01"}}}, {"Timings", {{"total", "0.3 s"}}}};
  return content;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const size_t start = text.find(from);
  REQUIRE(start != std::string::npos);
  const size_t end = text.find(to, start + from.size());
  REQUIRE(end != std::string::npos);
  return text.substr(start + from.size(), end - start - from.size());
}

/// Runs `script` in the finished page in headless Chromium and returns the object that it returns. The test fails
/// when a sound page logs an error or breaks a content policy, and when an unsound one does not.
nlohmann::json run_in_browser(std::string page, const std::string& script, bool sound = true) {
  if (!test::has_program("chromium")) test::skip("chromium is not installed");
  const std::string first =
      "<script>window.failures=[];window.addEventListener('error',e=>failures.push(String(e.message)));"
      "document.addEventListener('securitypolicyviolation',e=>failures.push('policy '+e.violatedDirective));"
      "console.error=(...a)=>failures.push(a.join(' '));</script>";
  const std::string last =
      "<script>(async()=>{const el=id=>document.getElementById(id);const wait=()=>new Promise(r=>setTimeout(r,30));"
      "const grey=(name,x,y)=>el('canvas-'+name).getContext('2d').getImageData(x,y,1,1).data[0];"
      "const event=(target,type,init)=>target.dispatchEvent(new "
      "(type.startsWith('key')?KeyboardEvent:type==='wheel'?WheelEvent:"
      "type.startsWith('pointer')?PointerEvent:Event)(type,Object.assign({bubbles:true,cancelable:true},init)));"
      "let result={};try{result=await(async()=>{" +
      script +
      "})();}catch(e){failures.push(String(e));}"
      "result.failures=failures;const out=document.createElement('pre');out.id='test-result';"
      "out.textContent=JSON.stringify(result);document.body.append(out);})();</script>";
  page.insert(page.find("<title>"), first);
  page.insert(page.rfind("</body>"), last);
  const test::TemporaryFolder folder;
  std::ofstream(folder / "report.html") << page;
  const auto run = test::run_command(
      fmt::format("cd {0} && HOME={0} timeout 60 chromium --headless --no-sandbox --disable-gpu "
                  "--disable-dev-shm-usage --window-size=1200,900 "
                  "--user-data-dir={0}/profile --virtual-time-budget=5000 --dump-dom file://{0}/report.html",
                  folder.path().string()));
  INFO(run.errors.substr(0, 2000));
  REQUIRE(run.exit_code == 0);
  std::string text = between(run.output, "<pre id=\"test-result\">", "</pre>");
  for (const auto& [entity, character] :
       {std::pair<std::string, std::string>{"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}})
    for (size_t at = text.find(entity); at != std::string::npos; at = text.find(entity, at + 1))
      text.replace(at, entity.size(), character);
  nlohmann::json result = nlohmann::json::parse(text);
  INFO(result.dump());
  REQUIRE(result["failures"].empty() == sound);
  return result;
}

}  // namespace

TEST_CASE("the report is one page that loads nothing from elsewhere") {
  ReportContent content = example();
  content.reference = content.images;
  content.metrics = {mri::fastmri_metrics(at::rand({1, 9, 9}), at::rand({1, 9, 9}))};
  content.line_map = at::ones({1, 16}, at::kInt);
  content.coil_maps = at::ones({4, 6, 8}, at::kComplexFloat);
  const std::string page = render_report(content);
  REQUIRE(page.starts_with("<!DOCTYPE html>"));
  REQUIRE(page.find("{{") == std::string::npos);
  for (const char* forbidden : {"http:", "https:", "src=", "href=", "@import", "url(", "fetch(", "XMLHttpRequest"})
    REQUIRE(page.find(forbidden) == std::string::npos);
  REQUIRE(page.find("default-src 'none'") != std::string::npos);
  REQUIRE(count(page, "id=\"image-") == 3);
  REQUIRE(count(page, "id=\"reference-") == 3);
  REQUIRE(count(page, "data-source=\"coil-") == 4);
  REQUIRE(page.find("16 of 16 lines acquired") != std::string::npos);
  REQUIRE(page.find("SSIM") != std::string::npos);
  REQUIRE(page.find("<th scope=\"row\">iterations</th><td>30</td>") != std::string::npos);
  for (const char* id : {"slice", "window", "level", "zoom", "gain", "match"})  // every control has a label
    REQUIRE(page.find(fmt::format("<label for=\"{}\"", id)) + page.find(fmt::format(" for=\"{}\"", id)) !=
            2 * std::string::npos);
}

TEST_CASE("texts from files cannot inject anything into the report") {
  const std::string evil = "</script></title><script>alert('x')</script><img src=x onerror=alert(1)>\"'&{{data}}";
  ReportContent content = example();
  content.title = content.method = evil;
  content.warnings = {evil};
  content.tables = {{evil, {{evil, evil}}}};
  mri::MetricSet set{evil, evil, {{evil, 1, evil, evil, true}}, {evil}};
  content.metrics = {set};
  const std::string page = render_report(content);
  REQUIRE(count(page, "alert('x')") == 0);
  REQUIRE(count(page, "<img") == 0);
  REQUIRE(count(page, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") >= 8);
  REQUIRE(count(page, "id=\"image-0\"") == 1);  // the token inside a text was not replaced
  REQUIRE(count(page, "<script") == count(render_report(example()), "<script"));
  content.title = std::string("a\0b\xff\xfe", 5);  // neither NUL nor broken UTF-8 stops it
  REQUIRE_NOTHROW(render_report(content));
}

TEST_CASE("report pixels are little endian codes of the magnitude") {
  ReportContent content = example();
  at::Tensor pixels = at::zeros({1, 1, 1, 4});
  pixels[0][0][0][0] = 2;   // the maximum: ff ff
  pixels[0][0][0][1] = -1;  // magnitude: half, 32768 -> 00 80
  pixels[0][0][0][2] = std::numeric_limits<float>::quiet_NaN();
  content.images = series_of(pixels);
  std::string code = between(render_report(content), "id=\"image-0\">", "</script>");
  std::erase(code, '\n');
  REQUIRE(code == "//8AgAAAAAA=");
  const auto settings = nlohmann::json::parse(between(render_report(content), "id=\"settings\">", "</script>"));
  REQUIRE(settings["bits"] == 16);
  REQUIRE(settings["image"]["maximum"] == 2.0);
  REQUIRE(settings["width"] == 4);
}

TEST_CASE("large reports become 8 bit and are then thinned and say so") {
  ReportContent content = example();
  content.images = series_of(at::rand({10, 1, 16, 16}));
  content.pixel_budget_bytes = 10 * 256;
  std::string page = render_report(content);
  REQUIRE(count(page, "id=\"image-") == 10);
  REQUIRE(page.find("8 instead of 16 bits") != std::string::npos);
  content.pixel_budget_bytes = 4 * 256;
  page = render_report(content);
  REQUIRE(count(page, "id=\"image-") == 4);
  REQUIRE(page.find("One in 3 of the 10 slices") != std::string::npos);
  REQUIRE(page.find("slice 9") != std::string::npos);
  content.pixel_budget_bytes = int64_t{1} << 20;
  REQUIRE(render_report(content).find("instead of") == std::string::npos);
}

TEST_CASE("a reference of another size is left out of the report with a reason") {
  ReportContent content = example();
  content.reference = series_of(at::rand({3, 1, 6, 9}));
  const std::string page = render_report(content);
  REQUIRE(page.find("The reference is not shown") != std::string::npos);
  REQUIRE(count(page, "id=\"reference-") == 0);
  content.images.pixels = at::Tensor();
  REQUIRE_THROWS_AS(render_report(content), ShapeError);
}

TEST_CASE("the report draws its pixels and every control works in a browser") {
  const auto result = run_in_browser(render_report(example()), R"js(
    const out = { ready: document.documentElement.dataset.ready, start: [grey('image', 0, 0), grey('image', 5, 2)] };
    el('slice').value = 2; event(el('slice'), 'input'); await wait();
    out.slider = [grey('image', 0, 0), document.documentElement.dataset.slice, el('slice-label').textContent];
    event(document.body, 'keydown', { key: 'ArrowLeft' }); await wait();
    out.key = [grey('image', 0, 0), document.documentElement.dataset.slice];
    event(el('canvas-image'), 'wheel', { deltaY: -100 }); await wait();
    out.wheel = document.documentElement.dataset.slice;
    event(document.body, 'keydown', { key: 'End' }); await wait();
    out.end = document.documentElement.dataset.slice;
    event(document.body, 'keydown', { key: 'ArrowRight' }); await wait();
    out.past = document.documentElement.dataset.slice;
    event(document.body, 'keydown', { key: 'Home' }); await wait();
    el('window').value = 200; event(el('window'), 'input'); el('level').value = 100; event(el('level'), 'input'); await wait();
    out.window = [grey('image', 0, 0), grey('image', 5, 2)];
    event(el('reset'), 'click'); await wait();
    out.reset = grey('image', 0, 0);
    event(el('canvas-image'), 'pointerdown', { clientX: 100, clientY: 100, button: 0, pointerId: 1 });
    event(el('canvas-image'), 'pointermove', { clientX: 60, clientY: 120, pointerId: 1 });
    event(el('canvas-image'), 'pointerup', { pointerId: 1 }); await wait();
    out.drag = [Number(document.documentElement.dataset.window), Number(document.documentElement.dataset.level)];
    const before = el('canvas-image').getBoundingClientRect().width;
    event(document.body, 'keydown', { key: '+' }); event(document.body, 'keydown', { key: '+' });
    event(document.body, 'keydown', { key: '+' }); event(document.body, 'keydown', { key: '+' }); await wait();
    out.zoom = el('canvas-image').getBoundingClientRect().width / before;
    out.reference = getComputedStyle(el('canvas-reference').closest('figure')).display;
    return out;)js");
  // Window 0 .. 100: the 99.5th percentile of 144 values of which 3 are 100.
  REQUIRE(result["ready"] == "yes");
  REQUIRE(result["start"] == nlohmann::json({26, 255}));                       // 10 of 100 in 255 steps
  REQUIRE(result["slider"] == nlohmann::json({76, "2", "slice 2 (3 of 3)"}));  // 76.5 less half a 16-bit code
  REQUIRE(result["key"] == nlohmann::json({51, "1"}));
  REQUIRE(result["wheel"] == "0");
  REQUIRE(result["end"] == "2");
  REQUIRE(result["past"] == "2");
  REQUIRE(result["window"] == nlohmann::json({128, 255}));  // 10 in a window of 0 .. 20
  REQUIRE(result["reset"] == 26);
  REQUIRE(std::abs(result["drag"][0].get<double>() - 90) <= 1e-9);  // 40 pixels left: 10 of 100 narrower
  REQUIRE(std::abs(result["drag"][1].get<double>() - 55) <= 1e-9);  // 20 down: level up by 5
  REQUIRE(std::abs(result["zoom"].get<double>() - 2) <= 0.02);
  REQUIRE(result["reference"] == "none");
}

TEST_CASE("the report shows reference and magnified difference in a browser") {
  ReportContent content = example();
  data::ImageSeries reference = series_of(0.5 * example_pixels().transpose(2, 3));  // readout along the other axis
  reference.readout = data::ReadoutAxis::y;
  content.reference = reference;
  content.line_map = at::tensor({0, 1, 2, 0}, at::kInt).view({1, 4});
  content.coil_maps = at::stack({at::full({6, 8}, 0.5), at::full({6, 8}, 1.0)});
  content.title = "</title><script>failures.push('injected')</script>";
  const auto result = run_in_browser(render_report(content), R"js(
    const out = { start: ['image', 'reference', 'difference'].map((n) => [grey(n, 0, 0), grey(n, 5, 2)]) };
    el('gain').value = '1'; event(el('gain'), 'change'); await wait();
    out.gain = [grey('difference', 0, 0), grey('difference', 5, 2)];
    el('match').checked = true; event(el('match'), 'change'); await wait();
    out.match = [grey('image', 5, 2), grey('difference', 5, 2)];
    const c = document.querySelector('canvas[data-source=lines]').getContext('2d');
    out.lines = [0, 1, 2, 3].map((x) => c.getImageData(x, 0, 1, 1).data[0]);
    out.coil = document.querySelector('canvas[data-source=coil-0]').getContext('2d').getImageData(3, 3, 1, 1).data[0];
    out.title = document.title;
    return out;)js");
  REQUIRE(result["start"] == nlohmann::json({{26, 255}, {13, 128}, {64, 255}}));  // difference 5 x 5 of 100
  REQUIRE(result["gain"] == nlohmann::json({13, 128}));
  REQUIRE(result["match"] == nlohmann::json({128, 0}));
  REQUIRE(result["lines"] == nlohmann::json({0, 128, 255, 0}));
  REQUIRE(result["coil"] == 128);
  REQUIRE(result["title"] == content.title);
}

TEST_CASE("the report draws 8 bit pixels and voxels that are not square in a browser") {
  ReportContent content = example();
  content.pixel_budget_bytes = 3 * 48;
  content.images.field_of_view_mm = {8, 12, 5};  // voxels of 1 x 2 mm
  const auto result = run_in_browser(render_report(content), R"js(
    const box = el('canvas-image').getBoundingClientRect();
    return { grey: [grey('image', 0, 0), grey('image', 5, 2)], aspect: box.height / box.width };)js");
  REQUIRE(result["grey"] == nlohmann::json({26, 255}));
  REQUIRE(std::abs(result["aspect"].get<double>() - 1.5) <= 0.02);  // 6 voxels of 2 mm by 8 of 1 mm
}

TEST_CASE("the browser checks see errors and loads from elsewhere") {
  std::string page = render_report(example());
  SECTION("an error in the page's script") {
    page.insert(page.find("resetWindow();\n  layout();"), "undefinedFunction();");
  }
  SECTION("an image from elsewhere") {
    page.insert(page.find("<footer>"), "<img src=\"file:///usr/share/nothing.png\">");
  }
  run_in_browser(page, "return {};", false);
}
