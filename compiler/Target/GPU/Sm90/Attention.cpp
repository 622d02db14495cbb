// From attention dispatches to tile kernels: shapes, schedules, tensor maps.
#include "compiler/Target/GPU/SimtBuilder.h"
#include "compiler/Target/GPU/Sm90/AttentionRowStatistics.h"
#include "compiler/Target/GPU/Sm90/Family.h"
#include "compiler/Target/GPU/Sm90/LaunchRecord.h"
#include "compiler/Target/Kernel/AttentionBody.h"
#include "dialects/Tile/IR/Tile.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

using namespace mlir;

namespace moec::sm90 {

namespace {

/// An attention, or its gradients, with the parameters of its operands and results.
struct Attention : kernel::AttentionSizes {
  Attention(const kernel::AttentionSizes &sizes, moe::DispatchOp dispatch) : AttentionSizes(sizes), body(dispatch) {}

  kernel::DispatchBody body;
  SmallVector<unsigned> inputs; // by operand
  SmallVector<std::optional<unsigned>> results;

  /// None if no template of this file covers the dispatch.
  static std::optional<Attention> read(moe::DispatchOp dispatch);
};

std::optional<Attention> Attention::read(moe::DispatchOp dispatch) {
  Operation *found = nullptr;
  for (Operation &op : *dispatch.getBlock()) {
    if (isa<moe::AttentionOp, moe::AttentionGradOp>(op)) {
      if (found)
        return std::nullopt;
      found = &op;
    } else if (!moe::computesNothing(&op)) {
      return std::nullopt;
    }
  }
  if (!found)
    return std::nullopt;
  auto forward = dyn_cast<moe::AttentionOp>(found);
  Attention read(forward ? kernel::AttentionSizes(forward) : kernel::AttentionSizes(cast<moe::AttentionGradOp>(found)),
                 dispatch);
  if (read.headSize != 64 && read.headSize != 128)
    return std::nullopt;
  // Only lse is not bf16 in memory.
  Value lse = forward ? Value(forward.getLse()) : found->getOperand(4);
  auto fits = [&](Value value, unsigned param) {
    Type type = read.body.storageOf(param);
    return value == lse ? type.isF32() : type.isBF16();
  };
  for (Value operand : found->getOperands()) {
    std::optional<unsigned> param = read.body.paramOf(operand);
    if (!param || !fits(operand, *param))
      return std::nullopt;
    read.inputs.push_back(*param);
  }
  read.results.resize(found->getNumResults());
  for (const kernel::DispatchBody::Sink &sink : read.body.sinks()) {
    auto result = dyn_cast<OpResult>(sink.value);
    if (!result || result.getOwner() != found || sink.accumulates || !fits(result, sink.param) ||
        read.results[result.getResultNumber()])
      return std::nullopt;
    read.results[result.getResultNumber()] = sink.param;
  }
  for (auto [i, param] : llvm::enumerate(read.results))
    if (!param && found->getResult(i) != lse)
      return std::nullopt;
  return read;
}

/// A tile.kernel with its maps, for one of the templates.
class KernelWriter {
public:
  KernelWriter(const Attention &attention, ModuleOp kernels, StringRef symbol, const gpu::GpuTarget &target,
               tile::ScheduleAttr schedule, int64_t section)
      : attention(attention), target(target), b(attention.body.dispatch->getLoc(), kernels.getContext()),
        shape(tile::AttentionAttr::get(b.getContext(), attention.sequences, attention.positions, attention.heads,
                                       attention.kvHeads, attention.headSize, section,
                                       attention.isWindowed() ? attention.window : 0)) {
    b.setInsertionPointToEnd(kernels.getBody());
    kernel = tile::KernelOp::create(b, symbol, attention.body.numParams(), schedule);
    b.createBlock(&kernel.getBody());
  }

  /// Maps of [B*S, heads*dh] as (column, position, head, sequence), with boxes of 64 columns and `rows` rows.
  Value query(unsigned param, int64_t rows) { return map(param, attention.heads, rows); }
  Value key(unsigned param, int64_t rows) { return map(param, attention.kvHeads, rows); }
  Value rows(unsigned param) {
    return tile::OperandOp::create(b, attention.body.params[param].type, static_cast<int64_t>(param));
  }
  /// `products`: the number of useful products; each takes as many multiplications as there are visible pairs of a
  /// query and a key, times the head size.
  KernelInfo info(double products, int64_t workspace);

private:
  Value map(unsigned param, int64_t heads, int64_t rows) {
    int64_t headBytes = attention.headSize * 2, rowBytes = heads * headBytes;
    return tile::MapOp::create(b, tile::MapType::get(b.getContext()), static_cast<int64_t>(param), b.getBF16Type(),
                               ArrayRef<int64_t>{attention.headSize, attention.positions, heads, attention.sequences},
                               ArrayRef<int64_t>{rowBytes, headBytes, attention.positions * rowBytes},
                               ArrayRef<int64_t>{64, rows, 1, 1}, tile::kSwizzleBytes);
  }

  const Attention &attention;
  const gpu::GpuTarget &target;
  tile::KernelOp kernel;

public:
  ImplicitLocOpBuilder b;
  const tile::AttentionAttr shape;
};

KernelInfo KernelWriter::info(double products, int64_t workspace) {
  KernelInfo info;
  info.symbol = kernel.getSymName().str();
  info.grid = std::min(kernel.getWork().getTileCount(kernel.getSchedule()), target.numSms);
  info.scratchBytes = gpu::SimtBuilder::kCounterBytes + workspace;
  info.flops = products * 2.0 * attention.sequences * attention.heads * attention.headSize * attention.pairs();
  for (const moe::DispatchParam &param : attention.body.params)
    info.bytes += static_cast<double>(param.type.getNumElements()) * param.type.getElementTypeBitWidth() / 8;
  info.launch = launchRecord(kernel);
  return info;
}

/// The smallest divisor of `count` that is at least `least`.
int64_t sectionOf(int64_t count, int64_t least) {
  int64_t size = std::min(count, least);
  while (count % size)
    ++size;
  return size;
}

/// The query heads of a section, so few that the keys and values that their tiles visit stay in the second-level cache.
int64_t querySection(const Attention &attention) {
  constexpr int64_t kCacheBytes = 32 << 20;
  constexpr int64_t kBlock = 128;
  int64_t visited = std::min(attention.positions, attention.window + kBlock);
  int64_t inCache = std::max<int64_t>(1, kCacheBytes / (visited * attention.headSize * 4));
  return sectionOf(attention.sequences * attention.heads, attention.heads / attention.kvHeads * inCache);
}

/// The part of a schedule in which the kernels differ. Chosen by measurement on an H200.
struct Choice {
  int64_t n;                  // keys (forward, queries' gradient) or queries (keys' gradients) of a step
  int64_t stages;             // steps whose operands are in shared memory
  int64_t producer, consumer; // registers of a thread
};
constexpr Choice kForward{.n = 128, .stages = 2, .producer = 24, .consumer = 240};
constexpr Choice kQueryGradient{.n = 128, .stages = 2, .producer = 40, .consumer = 232};
constexpr Choice kKeyGradients{.n = 64, .stages = 3, .producer = 24, .consumer = 240}; // alone or with the queries'

tile::ScheduleAttr schedule(const Attention &attention, const Choice &choice) {
  moe::DispatchOp dispatch = attention.body.dispatch;
  return tile::ScheduleAttr::get(dispatch.getContext(), /*m=*/128, choice.n, /*k=*/attention.headSize, choice.stages,
                                 choice.producer, choice.consumer, /*raster=*/8, /*buffers=*/0, /*split=*/1,
                                 /*lanes=*/0);
}

KernelInfo writeQueryGradient(const Attention &attention, ModuleOp kernels, StringRef symbol,
                              const gpu::GpuTarget &target) {
  ArrayRef<unsigned> in = attention.inputs; // q, k, v, result, lse, grad
  KernelWriter w(attention, kernels, symbol, target, schedule(attention, kQueryGradient), querySection(attention));
  Value q = w.query(in[0], 128), grad = w.query(in[5], 128), k = w.key(in[1], 128), v = w.key(in[2], 128);
  Value dq = w.query(*attention.results[0], 64);
  tile::AttentionDqOp::create(w.b, w.shape, q, k, v, grad, w.rows(in[3]), w.rows(in[5]), w.rows(in[4]), dq);
  return w.info(2, w.shape.getStatisticsBytes());
}

KernelInfo writeKeyGradients(const Attention &attention, ModuleOp kernels, StringRef symbol,
                             const gpu::GpuTarget &target) {
  // A tile takes as long as all heads of a group. In smaller sections, the order "longest first" would have little
  // effect.
  constexpr int64_t kSection = 16;
  int64_t section = sectionOf(attention.sequences * attention.kvHeads, kSection);
  ArrayRef<unsigned> in = attention.inputs;
  KernelWriter w(attention, kernels, symbol, target, schedule(attention, kKeyGradients), section);
  Value q = w.query(in[0], 64), grad = w.query(in[5], 64), k = w.key(in[1], 128), v = w.key(in[2], 128);
  Value dk = w.key(*attention.results[1], 64), dv = w.key(*attention.results[2], 64);
  tile::AttentionDkvOp::create(w.b, w.shape, q, k, v, grad, dk, dv);
  return w.info(3, w.shape.getStatisticsBytes());
}

/// Whether one kernel for all gradients is used. It computes scores once instead of twice, but its tiles wait for each
/// other. Measured with heads of 128 columns: 7 to 11 % less time from 2048 positions on, 3 % more with 1024
/// (docs/performance.md). If there are few tiles, many of them wait (simulated, not measured). The kernel does not
/// support windows.
bool joinsGradients(const Attention &attention, const gpu::GpuTarget &target) {
  constexpr int64_t kLeastPositions = 2048, kLeastRounds = 3, kBlock = 128;
  int64_t tiles = attention.sequences * attention.kvHeads * llvm::divideCeil(attention.positions, kBlock);
  return attention.headSize == 128 && !attention.isWindowed() && attention.positions >= kLeastPositions &&
         tiles >= kLeastRounds * target.numSms;
}

/// Row statistics, then one kernel for all gradients.
std::vector<KernelInfo> writeGradients(const Attention &attention, ModuleOp kernels, StringRef symbol,
                                       const gpu::GpuTarget &target) {
  // Without groups, a section has two tiles for each multiprocessor: short ones of a head, then long ones. With groups,
  // it has so many heads that the tiles of one head are drawn at different times.
  constexpr int64_t kSection = 8, kBlock = 128;
  int64_t blocks = llvm::divideCeil(attention.positions, kBlock);
  int64_t least = attention.heads == attention.kvHeads ? std::max<int64_t>(1, 2 * target.numSms / blocks) : kSection;
  int64_t section = sectionOf(attention.sequences * attention.kvHeads, least);
  ArrayRef<unsigned> in = attention.inputs; // q, k, v, result, lse, grad
  KernelWriter w(attention, kernels, (symbol + "_grad").str(), target, schedule(attention, kKeyGradients), section);
  Value q = w.query(in[0], 64), grad = w.query(in[5], 64), k = w.key(in[1], 128), v = w.key(in[2], 128);
  Value dq = w.query(*attention.results[0], 64);
  Value dk = w.key(*attention.results[1], 64), dv = w.key(*attention.results[2], 64);
  tile::AttentionGradOp::create(w.b, w.shape, q, k, v, grad, dq, dk, dv);
  KernelInfo gradients = w.info(5, w.shape.getStatisticsBytes() + w.shape.getTurnBytes() + w.shape.getSumBytes());
  AttentionRows rows{attention.body.numParams(), in[3], in[5], in[4]};
  KernelInfo statistics =
      emitAttentionRowStatistics(rows, w.shape, w.b.getLoc(), kernels, (symbol + "_rows").str(), target);
  return {std::move(statistics), std::move(gradients)};
}

} // namespace

Emitted emitAttention(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol, const gpu::GpuTarget &target) {
  std::optional<Attention> read = Attention::read(dispatch);
  if (!read)
    return std::nullopt;
  const Attention &attention = *read;
  ArrayRef<unsigned> in = attention.inputs; // q, k, v
  KernelWriter w(attention, kernels, symbol, target, schedule(attention, kForward), querySection(attention));
  Value q = w.query(in[0], 128), k = w.key(in[1], 128), v = w.key(in[2], 128);
  Value result = w.query(*attention.results[0], 64), lse;
  if (attention.results[1])
    lse = w.rows(*attention.results[1]);
  tile::AttentionFwdOp::create(w.b, w.shape, q, k, v, result, lse);
  return std::vector<KernelInfo>{w.info(2, /*workspace=*/0)};
}

Emitted emitAttentionGrad(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol, const gpu::GpuTarget &target) {
  std::optional<Attention> read = Attention::read(dispatch);
  if (!read)
    return std::nullopt;
  const Attention &attention = *read;
  if (joinsGradients(attention, target))
    return writeGradients(attention, kernels, symbol, target);
  KernelInfo queries = writeQueryGradient(attention, kernels, (symbol + "_dq").str(), target);
  KernelInfo keys = writeKeyGradients(attention, kernels, (symbol + "_dkv").str(), target);
  return std::vector<KernelInfo>{std::move(queries), std::move(keys)};
}

} // namespace moec::sm90
