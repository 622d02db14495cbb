// Emits one row of a "row" dispatch for the threads that share it.
//
// A value of the body is a function of its column. evaluate() computes it at a set of columns, by evaluating its
// operands there (or, for moe.take and moe.rope, at other columns). Ops that look at a whole row (row_reduce, top_k,
// dot_rows) are done first, by all threads of the row together; their results are scalars that every thread holds.
// Only sinks store wide values; a value that is needed again is still in registers or is computed again.
//
// With sums over rows, a block does all rows of a sum, as many at a time as it has threads for. Its threads keep the
// sums of their columns in registers; at the end the sums of different rows are joined in shared memory.
#ifndef MOEC_COMPILER_TARGET_GPU_ROWEMITTER_H
#define MOEC_COMPILER_TARGET_GPU_ROWEMITTER_H

#include "compiler/Target/GPU/SimtBuilder.h"
#include "compiler/Target/Kernel/RowSchedule.h"
#include <map>

namespace moec::gpu {

/// How the rows of a dispatch are divided among blocks and threads.
struct RowLayout {
  int64_t threads = 0;      // of a block
  int64_t group = 1;        // threads of a row: a power of two up to a warp, or all of the block
  int64_t chunks = 1;       // blocks of a row; more than one only if no op looks at a whole row
  int64_t vector = 1;       // columns of one access where widths allow
  int64_t chunkColumns = 0; // of a block, when chunks > 1
  int64_t loopPieces = 4;   // accesses of one operand in flight, in a loop over a row that does not fit the registers
  int64_t rowsPerBlock() const { return threads / group; } // at once

  static RowLayout choose(const kernel::DispatchBody &body, const kernel::RowSchedule &schedule);
};

/// Whether all threads of a row do `op` together.
bool looksAtRow(mlir::Operation *op);

class RowEmitter {
public:
  using Value = mlir::Value;
  using Values = llvm::SmallVector<Value>;

  RowEmitter(SimtBuilder &k, const kernel::DispatchBody &body, const kernel::RowSchedule &schedule,
             const RowLayout &layout)
      : k(k), body(body), schedule(schedule), layout(layout) {}

  /// The rows (or the chunk of one) of this block.
  mlir::LogicalResult emit();

private:
  /// Results of whole rows with more elements go to shared memory, loops over more slots stay loops.
  static constexpr int64_t kMostReplicated = 32;

  /// Columns at which values are needed: `lanes` neighbouring columns at each site.
  struct Sites {
    int64_t lanes = 1;
    int64_t multiple = 1;    // every site's first column is a multiple of this
    Values columns;          // of lane 0; clamped into the row where they do not exist
    Values exists;           // i1 each; null: certainly
    bool isWholeRow = false; // all of a thread's columns of the row: what is known of them is kept in registers
    llvm::DenseMap<Value, Values> known;
  };
  /// The columns of one thread in rows of `width` columns.
  struct Columns {
    int64_t lanes, pieces;
    bool inRegisters;
  };

  /// While such an object exists, code is emitted before the outermost loop; for values that do not change within a
  /// row.
  class Hoist {
  public:
    explicit Hoist(RowEmitter &emitter);

  private:
    mlir::OpBuilder::InsertionGuard guard;
  };

  //===--- Values (RowValues.cpp) ---===//
  /// `value` at all sites.
  Values evaluate(Value value, Sites &sites);
  Values compute(mlir::Operation *op, unsigned result, Sites &sites);
  Values atParam(Value value, unsigned param, Sites &sites);
  Values atReplicated(Value value, mlir::ArrayRef<Value> scalars, Sites &sites);
  Values atMap(moe::MapOp map, unsigned result, Sites &sites);
  Values atTableRow(mlir::Operation *op, Sites &sites);
  Values atCombine(moe::CombineRowsOp op, Sites &sites);
  Values atSlice(moe::SliceColumnsOp op, Sites &sites);
  Values atTake(moe::TakeOp op, Sites &sites);
  Values atPut(moe::PutOp op, Sites &sites);
  Values atRope(moe::RopeOp op, Sites &sites);
  /// cos and sin of the angles at all sites.
  std::pair<Values, Values> anglesOf(moe::RopeOp op, Sites &sites);
  Values atRandom(moe::RandomNormalOp op, Sites &sites);
  /// One element of each lane of each site, in lanes-major order within a site; and back.
  Sites scattered(const Sites &sites, llvm::function_ref<Value(size_t site, int64_t lane)> column);
  Values gathered(llvm::ArrayRef<Value> elements, const Sites &sites);
  /// The only element of a row of a one-column value.
  Value scalar(Value value);
  /// Element `column` of a row, outside of loops / anywhere.
  Value element(Value value, int64_t column);
  Value elementAt(Value value, Value column);
  /// A value of the map's body if it is the same in all columns, otherwise null.
  Value uniform(moe::MapOp map, Value inner);
  bool isUniform(Value tensor) const { return schedule.columnsOf(tensor) == 1 || bool(kernel::splatOf(tensor)); }

  //===--- Memory ---===//
  Value rowOf(int64_t rows);
  Value rowBase(Value value, unsigned param);
  Value loadColumns(unsigned param, Value base, Value column, const Sites &sites, int64_t rowColumns, mlir::Type to);
  int64_t alignment(unsigned param, int64_t multiple, int64_t lanes, int64_t rowColumns) const;
  Value convert(Value value, mlir::Type element);
  Value laneOf(Value value, int64_t lane);

  /// Row `row` from its loads to its stores. `sums` are the sums over rows so far; this row is added to them.
  mlir::LogicalResult emitRow(Values &sums);

  //===--- Sums over rows (RowSums.cpp) ---===//
  /// The rows of sum `number`.
  mlir::LogicalResult emitSummedRows(Value number);
  Values zeroSums();
  void addToSums(Values &sums);
  void storeSums(Values sums);

  //===--- Whole rows (RowOps.cpp) ---===//
  Columns columnsOf(int64_t width) const;
  Sites sitesAt(int64_t width, Value first, int64_t pieces, bool mayEnd);
  Sites &wholeRow(int64_t width);
  /// A loop, before which Hoist puts code.
  Values loopOver(Value from, Value end, int64_t step, mlir::ValueRange carried,
                  llvm::function_ref<Values(Value, mlir::ValueRange)> body);
  /// Runs `body` at all columns of this thread; `body` returns the next `carried`.
  Values overColumns(int64_t width, mlir::ValueRange carried,
                     llvm::function_ref<Values(Sites &, mlir::ValueRange)> body);
  void emitLevel(llvm::ArrayRef<mlir::Operation *> ops);
  void emitReductions(int64_t width, llvm::ArrayRef<moe::RowReduceOp> reduces);
  bool emitOnlineSoftmax(moe::RowReduceOp max);
  void emitTopK(moe::TopKOp op);
  void emitDotRows(moe::DotRowsOp op);
  Value joinOf(moe::RowReduceOp op, Value a, Value b);
  Value neutralOf(moe::RowReduceOp op, mlir::Type type);
  Value masked(Value value, Value exists, Value otherwise);
  void emitSharedRow(Value result, mlir::ValueRange carried,
                     llvm::function_ref<std::pair<Value, Values>(Value, mlir::ValueRange)> elementOf);

  /// Starts the loads of a row before its first step, if the row is done in several steps.
  void loadEarly();

  //===--- Sinks ---===//
  struct Store {
    Value value, base, column;
    int64_t alignment;
  };
  /// What is stored at one site, and when.
  struct SiteStores {
    llvm::SmallVector<Store> stores;
    Value condition;
  };
  llvm::SmallVector<SiteStores> computeStores(llvm::ArrayRef<kernel::DispatchBody::Sink> sinks, Sites &sites);
  bool mayStoreInLastPass(int64_t width);
  bool standApart(llvm::ArrayRef<kernel::DispatchBody::Sink> part);
  /// Sinks of a width, cut into parts that are computed and stored one after the other.
  llvm::SmallVector<llvm::SmallVector<kernel::DispatchBody::Sink>>
  inParts(llvm::ArrayRef<kernel::DispatchBody::Sink> sinks, int64_t width);
  Store storeOf(const kernel::DispatchBody::Sink &sink, Value value, Value column, const Sites &sites);
  mlir::LogicalResult emitSinks();
  bool sharesElements(unsigned param) const;
  void storeAll(llvm::ArrayRef<Store> stores, Value condition);
  void syncGroup();

  SimtBuilder &k;
  const kernel::DispatchBody &body;
  const kernel::RowSchedule &schedule;
  const RowLayout &layout;
  Value row, rowExists; // rowExists is null when every row exists
  Value member;         // number of this thread among those of its row
  Value chunkFirst;
  mlir::Operation *outermostLoop = nullptr;
  bool repeats = false;       // the block does several rows one after another
  bool hasSteps = false;      // threads of a row need each other's sums
  bool isLastLevel = false;   // of whole-row ops
  bool wideAreStored = false; // all sinks but scalars
  llvm::DenseMap<Value, Value> scalars, bases;
  llvm::DenseMap<unsigned, Value> sinkBases;
  llvm::DenseMap<Value, Values> replicated; // results of whole rows: all elements, in every thread
  llvm::DenseMap<Value, Value> sharedRows;  // those with many elements: a row of shared memory
  llvm::DenseMap<int64_t, Value> rowNumbers;
  llvm::DenseMap<std::pair<mlir::Operation *, Value>, Value> uniforms;
  /// A row of a table that the data selects: whether there is none, its place, and its factor (or null).
  struct TableRow {
    Value isMissing, base, weight;
  };
  TableRow tableRow(Value number, Value table, Value weight);
  llvm::DenseMap<mlir::Operation *, llvm::SmallVector<TableRow>> tableRows;
  std::map<int64_t, Sites> wholeRows;
  llvm::DenseSet<mlir::Operation *> done;
};

} // namespace moec::gpu

#endif
