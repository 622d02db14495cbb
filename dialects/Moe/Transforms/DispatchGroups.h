// The groups that FormDispatches builds in one block, and the rules that say which op may join which group.
#ifndef MOEC_DIALECTS_MOE_TRANSFORMS_DISPATCHGROUPS_H
#define MOEC_DIALECTS_MOE_TRANSFORMS_DISPATCHGROUPS_H

#include "dialects/Moe/IR/Moe.h"
#include "llvm/ADT/StringMap.h"

namespace moec::moe {

/// The value that a sink stores.
inline mlir::Value sinkValue(mlir::Operation *op) { return llvm::cast<StateAccessOpInterface>(op).getStored(); }

/// Whether no dispatch holds the op: a repeat, and what stays apart.
bool stays(mlir::Operation *op);

/// Ops that will become one dispatch, in order; or one op that stays as it is.
struct DispatchGroup {
  std::string kind;               // of the dispatch, see kernelKind; "" for an op that stays
  const OpFacts *facts = nullptr; // of the op that opened it; null for an op that stays
  llvm::SmallVector<mlir::Operation *> ops;
  mlir::RankedTensorType shape; // row: rows count; others: the root's first result
  unsigned roots = 0;           // products in a matmul group
  bool leavesRows = false;      // see PartialOpInterface
  std::string note;             // why a consumer was not fused

  bool isComputedBy(Kernel kernel) const { return facts && facts->kernel == kernel; }
  bool makes(mlir::Value value) const { return llvm::is_contained(ops, value.getDefiningOp()); }
};

/// The properties of a target that decide what is fused.
struct DispatchTraits {
  unsigned epilogueTensors = 0; // see moe-form-dispatches, for all
  int64_t rowSums = 0;
  int64_t gatherOnce = 0;
  int64_t summedColumns = 0;
  bool spreadInLoads = false;
  bool apart = false;
};

/// Whether the kernel that starts with `op` reads every operand from memory and cannot hold a constant.
bool takesNoConstants(mlir::Operation *op);

class DispatchGroups {
public:
  DispatchGroups(mlir::Block &block, const DispatchTraits &traits);

  /// Puts the next op, in program order, into a group. Fails with a diagnostic if no kernel computes the op.
  llvm::LogicalResult place(mlir::Operation *op);
  /// Replaces the block's ops by dispatches.
  void rewrite();

private:
  /// One read or write of a state by a group. `version` is the number of writes before it in program order.
  struct Access {
    unsigned group;
    bool isWrite;
    unsigned version;
    mlir::Type type; // shape under which it is accessed
    bool isAligned;  // each element is read before the kernel may write it
  };
  struct Dependence {
    int group;   // producer, or -1 when outside the block
    bool direct; // false: through a reshape or a cloned op, so it must be an earlier group
  };

  bool isCloned(mlir::Operation *op) const;
  bool picksRowsInLoads(mlir::Operation *op) const;
  void collect(mlir::Value value, bool direct, llvm::SmallVectorImpl<Dependence> &deps,
               llvm::SmallVectorImpl<mlir::Operation *> &reads) const;
  /// Whether `op` may execute as part of group `index`. `why` names the obstacle.
  bool canJoin(mlir::Operation *op, unsigned index, std::string &why) const;
  bool acceptsKind(mlir::Operation *op, const DispatchGroup &group, std::string &why) const;
  bool readFits(mlir::Operation *read, unsigned index, bool aligned) const;
  bool writeFits(mlir::Operation *write, unsigned index) const;
  void join(mlir::Operation *op, unsigned index);
  void addStaying(mlir::Operation *op);
  unsigned open(mlir::Operation *op);
  int findMatmulPartner(mlir::Operation *op) const;
  int findSibling(mlir::Operation *op) const;
  void splitSum(ColReduceOp sum);
  void splitSum(RowReduceOp sum);
  int findHolder(ColReduceOp sum, MapOp terms, int64_t parts) const;
  bool readsWith(mlir::Value value, unsigned index) const;
  bool mustBeStored(mlir::Value value) const;
  bool earnsEpilogue(MapOp map, const DispatchGroup &group) const;
  bool sumsRows(mlir::Operation *op, const DispatchGroup &group) const;

  mlir::Operation *buildDispatch(const DispatchGroup &group, mlir::OpBuilder &builder, mlir::IRMapping &outer);
  llvm::SmallVector<mlir::Value> escapingResults(const DispatchGroup &group);

  mlir::Block &block;
  const DispatchTraits &traits;
  llvm::SmallVector<DispatchGroup> groups;
  llvm::DenseMap<mlir::Operation *, unsigned> groupOf;
  llvm::DenseMap<mlir::Operation *, unsigned> versionOf; // of an access: earlier writes of its state
  llvm::StringMap<llvm::SmallVector<Access>> accesses;
};

} // namespace moec::moe

#endif
