#include "test/golden/CompiledModel.h"

#include "compiler/Driver/CompileSession.h"
#include "compiler/tools/RegisterAll.h"
#include "runtime/plan/PlanReader.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <unistd.h>

namespace moec::test {

namespace {
std::string temporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "moec-test-XXXXXX").string();
  if (!mkdtemp(pattern.data()))
    throw std::runtime_error("cannot make a folder " + pattern);
  return pattern;
}

rt::Plan compile(const std::string &folder, const std::string &specText, const ModelOptions &model) {
  std::string specPath = folder + "/spec.json", planPath = folder + "/model.moec";
  std::ofstream(specPath) << specText;
  mlir::DialectRegistry registry;
  registerAllDialects(registry);
  mlir::MLIRContext context(registry);
  std::string diagnostics;
  context.getDiagEngine().registerHandler([&](mlir::Diagnostic &diagnostic) {
    llvm::raw_string_ostream(diagnostics) << diagnostic.getLocation() << ": " << diagnostic << "\n";
    return mlir::success();
  });
  CompileOptions options;
  options.target = model.cpu;
  options.apart = model.apart;
  CompileSession session(context, options);
  if (failed(session.load(specPath)) || failed(session.writePlan(planPath)))
    throw std::runtime_error(diagnostics);
  rt::Result<rt::Plan> plan = rt::readPlan(planPath);
  if (!plan.isOk())
    throw std::runtime_error(plan.status().text());
  return std::move(plan.value());
}
} // namespace

CompiledModel::CompiledModel(const std::string &specText, const ModelOptions &options) : folder(temporaryFolder()) {
  loaded = std::make_unique<rt::Plan>(compile(folder, specText, options));
  rt::ExecutorOptions how;
  how.threads = options.threads;
  how.poison = options.poison;
  auto made = rt::Executor::create(*loaded, how);
  if (!made.isOk())
    throw std::runtime_error(made.status().text());
  engine = std::move(made.value());
  for (const rt::PlanState &state : loaded->state) {
    uint64_t elements = state.copyBytes / rt::dtypeInfo(state.dtype).bytes;
    for (uint64_t copy = 0; copy < state.count; ++copy)
      slots[state.copyName(copy)] = {state.offset + copy * state.copyBytes, elements, state.dtype, state.kind};
  }
}

CompiledModel::~CompiledModel() {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

void CompiledModel::call(const std::string &function) {
  for (size_t number = 0; number < loaded->functions.size(); ++number)
    if (loaded->functions[number].name == function)
      return engine->call(number);
  throw std::runtime_error("no function " + function);
}

const CompiledModel::Slot &CompiledModel::slot(const std::string &name) const {
  auto found = slots.find(name);
  if (found == slots.end())
    throw std::runtime_error("no state " + name);
  return found->second;
}

std::vector<double> CompiledModel::read(const std::string &name) {
  const Slot &place = slot(name);
  std::vector<double> values(place.elements);
  auto fetch = [&](auto zero) {
    std::vector<decltype(zero)> raw(place.elements);
    engine->device().read(place.offset, raw.data(), raw.size() * sizeof(zero));
    for (size_t i = 0; i < raw.size(); ++i)
      values[i] = static_cast<double>(raw[i]);
  };
  switch (place.dtype) {
  case rt::DType::F32:
    fetch(float());
    break;
  case rt::DType::F64:
    fetch(double());
    break;
  case rt::DType::I64:
    fetch(int64_t());
    break;
  default:
    fetch(int32_t());
  }
  return values;
}

void CompiledModel::write(const std::string &name, const std::vector<double> &values) {
  const Slot &place = slot(name);
  if (values.size() != place.elements)
    throw std::runtime_error(name + " has " + std::to_string(place.elements) + " elements, not " +
                             std::to_string(values.size()));
  if (place.dtype == rt::DType::F64) {
    engine->device().write(place.offset, values.data(), values.size() * sizeof(double));
    return;
  }
  std::vector<float> raw(values.begin(), values.end());
  engine->device().write(place.offset, raw.data(), raw.size() * sizeof(float));
}

std::vector<int32_t> CompiledModel::readInts(const std::string &name) {
  std::vector<double> values = read(name);
  return {values.begin(), values.end()};
}

void CompiledModel::writeInts(const std::string &name, const std::vector<int32_t> &values) {
  const Slot &place = slot(name);
  if (values.size() != place.elements)
    throw std::runtime_error(name + " has " + std::to_string(place.elements) + " elements");
  engine->device().write(place.offset, values.data(), values.size() * sizeof(int32_t));
}

std::vector<std::string> CompiledModel::names(rt::StateKind kind) const {
  std::vector<std::string> found;
  for (const auto &[name, place] : slots)
    if (place.kind == kind)
      found.push_back(name);
  return found;
}

std::string CompiledModel::stateBytes() {
  std::string bytes(loaded->memory.stateBytes, '\0');
  engine->device().read(0, bytes.data(), bytes.size());
  return bytes;
}

double number(uint64_t place, uint64_t stream) {
  uint64_t x = (place + 1) * 6364136223846793005ull + (stream + 1) * 1442695040888963407ull;
  for (int turn = 0; turn < 2; ++turn) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
  }
  x ^= x >> 33;
  return static_cast<double>(x >> 11) * 0x1p-52 - 1;
}

std::string changed(std::string text, const std::string &from, const std::string &to) {
  size_t at = text.find(from);
  if (at == std::string::npos)
    throw std::runtime_error("the spec does not hold: " + from);
  return text.replace(at, from.size(), to);
}

std::string readText(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw std::runtime_error("cannot read " + path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

} // namespace moec::test
