#include "compiler/Target/GPU/Sm90/Family.h"

#include "compiler/Target/GPU/Sm90/Passes.h"
#include "dialects/Tile/IR/Tile.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;

namespace moec::sm90 {

namespace {

class Sm90Family final : public gpu::GpuFamily {
public:
  Sm90Family() {
    h200.arch = "sm_90a";
    h200.ptxFeature = "+ptx81";
    h200.computeMajor = 9;
    h200.numSms = 132;
    h200.sharedBytes = tile::kMaxSharedBytes;
    // The rows of a consumer warpgroup: a group of tokens consists of whole tiles of 64, so no tile needs a masked row.
    h200.structure.rowAlign = 64;
    // The tensors for which a stage of the products' template has room, and the columns that its epilogue takes at a
    // time.
    h200.structure.tensorsOfEpilogue = 3;
    h200.structure.columnsOfRowSums = tile::kChunkColumns;
    // Copies of rows cost a product about 5 % of its time on an H200, so their cost grows with the columns. Writing and
    // reading the rows once more costs the same for any number of columns. Both costs are equal at about 6000 columns.
    h200.structure.columnsToGatherOnce = 6000;
    h200.structure.spreadsInLoads = true;
    // This saves a pass over memory. Up to this width a block keeps a row's sums in registers, whatever else it holds.
    h200.structure.columnsToSumInRows = 8192;
    h200.family = this;
  }

  ArrayRef<gpu::GpuTarget> machines() const override { return h200; }

  Emitted emit(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol,
               const gpu::GpuTarget &target) const override {
    auto emit = llvm::StringSwitch<decltype(&emitMatmul)>(dispatch.getKind())
                    .Case("matmul", emitMatmul)
                    .Case("attention", emitAttention)
                    .Case("attention_grad", emitAttentionGrad)
                    .Default(nullptr);
    return emit ? emit(dispatch, kernels, symbol, target) : std::nullopt;
  }

  void addLowering(OpPassManager &pm) const override { pm.addPass(createTileToNvvm()); }
  void registerPasses() const override { registerSm90Passes(); }

private:
  gpu::GpuTarget h200;
};

} // namespace

const gpu::GpuFamily &family() {
  static const Sm90Family family;
  return family;
}

} // namespace moec::sm90
