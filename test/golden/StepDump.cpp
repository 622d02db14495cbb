// moec-steps SPEC IN OUT: runs a spec with numbers from outside and writes what its states are after each step, for
// test/golden/authors/compare.py, which works out the same steps from published definitions.
//
// IN and OUT are safetensors. IN: "init/NAME" is written to state NAME after init; "S.M/batch.tokens" are the tokens of
// micro-batch M of step S (none: no forward or backward runs); "S/NAME" is written before the update of step S, such as
// a gradient. OUT: "S/NAME", F64 [n]: gradients and metrics before the update, parameters and what balancing keeps
// after it. Steps go on while IN has something for the next.
#include "test/golden/Goldens.h"

#include <fstream>
#include <iostream>

using namespace moec;
using namespace moec::test;

namespace {

using Tensors = std::map<std::string, std::vector<double>>;

/// The part of `all` below a prefix, without it.
Tensors below(const Tensors &all, const std::string &prefix) {
  Tensors part;
  for (auto it = all.lower_bound(prefix); it != all.end() && it->first.starts_with(prefix); ++it)
    part[it->first.substr(prefix.size())] = it->second;
  return part;
}

void write(const std::string &path, const Tensors &tensors) {
  std::string header = "{", data;
  for (const auto &[name, values] : tensors) {
    size_t begin = data.size(), bytes = values.size() * sizeof(double);
    data.append(reinterpret_cast<const char *>(values.data()), bytes);
    header += (header.size() > 1 ? ",\"" : "\"") + name + R"(":{"dtype":"F64","shape":[)" +
              std::to_string(values.size()) + R"(],"data_offsets":[)" + std::to_string(begin) + "," +
              std::to_string(begin + bytes) + "]}";
  }
  header += "}";
  uint64_t length = header.size();
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char *>(&length), sizeof(length))
      << header << data;
}

void copy(CompiledModel &model, rt::StateKind kind, const std::string &prefix, Tensors &out) {
  for (const std::string &name : model.names(kind))
    out[prefix + name] = model.read(name);
}

/// Whether there was anything to do.
bool runStep(CompiledModel &model, const std::string &step, const Tensors &in, Tensors &out) {
  Tensors written = below(in, step + "/");
  bool hasTokens = !below(in, step + ".").empty();
  if (written.empty() && !hasTokens)
    return false;
  model.call(moe::kBeginStepFunction);
  for (int micro = 0; hasTokens; ++micro) {
    auto tokens = in.find(step + "." + std::to_string(micro) + "/batch.tokens");
    if (tokens == in.end())
      break;
    model.writeInts("batch.tokens", {tokens->second.begin(), tokens->second.end()});
    model.call(moe::kForwardBackwardFunction);
  }
  for (const auto &[name, values] : written)
    model.write(name, values);
  copy(model, rt::StateKind::Gradient, step + "/", out);
  copy(model, rt::StateKind::Metric, step + "/", out);
  model.call(moe::kUpdateFunction);
  copy(model, rt::StateKind::Parameter, step + "/", out);
  copy(model, rt::StateKind::Balance, step + "/", out);
  return true;
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 4) {
    std::cerr << "usage: moec-steps SPEC IN OUT\n";
    return 2;
  }
  try {
    CompiledModel model(readText(argv[1]), {});
    Tensors in = readGoldens(argv[2]), out;
    model.call(moe::kInitFunction);
    for (const auto &[name, values] : below(in, "init/"))
      model.write(name, values);
    for (int step = 0; runStep(model, std::to_string(step), in, out); ++step)
      continue;
    write(argv[3], out);
  } catch (const std::exception &error) {
    std::cerr << "moec-steps: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
