// The template of matrix products: a persistent kernel in which one warpgroup loads and the others multiply.
//
//   grid         one block per multiprocessor; each walks tiles of m x n
//   threads      128 producers, 128 consumers for each 64 rows of the tile
//   shared       stages x (left tile | 128 bytes of depth), stages x right tiles of all products,
//                buffers x 8 KiB of staging a consumer, full barriers, empty barriers, a word per consumer
//   producer     for each tile, term and slice: wait empty; expect bytes; TMA boxes, or 16-byte copies of gathered rows
//                then a stage for each 64 columns of the tiles of fetched matrices
//   consumer     for each tile: zero accumulators; for each slice: wait full, 4 wgmma, give back the slice before;
//                then the epilogue, 64 columns at a time, and the stores
//
// With lanes (GemmLanes.cpp) consumers take whole tiles of 64 rows in turns, and the right side stays:
//
//   shared       stages x left slice | all right slices, staging, full and empty barriers of both, two turns
//   producer     one thread goes through left slices, another through right ones, which it asks for once a run
//                (the tiles of a lane that belong to one group)
//   consumer     for each second tile of the run: wait for its turn, multiply, give the turn on; epilogue and stores
//
// An accumulator element i = 4 j + 2 h + c of a thread is at row 16 warp + lane / 4 + 8 h, column 8 j + 2 (lane % 4) +
// c of its consumer's 64 rows. Products stand side by side in j.
#ifndef MOEC_COMPILER_TARGET_GPU_SM90_GEMM_H
#define MOEC_COMPILER_TARGET_GPU_SM90_GEMM_H

#include "compiler/Target/GPU/Sm90/PipelineBuilder.h"

namespace moec::sm90 {

/// What the ops of a tile.kernel say.
struct Gemm {
  explicit Gemm(tile::KernelOp kernel);

  enum class Work { Dense, Grouped, Ragged };
  struct Side {
    tile::Major major;
    mlir::Value map; // null: gathered
    int64_t rank = 2;
    // Gathered: parameters of the rows and of their numbers.
    int64_t source = 0, sourceColumns = 0, numbers = 0, count = 0, slots = 1;
    bool isGathered() const { return !map; }
  };
  struct Term {
    Side lhs;
    llvm::SmallVector<Side> rhs; // of each product
    int64_t depth;
  };
  struct RowSums {
    mlir::Value value; // fragment
    int64_t param;
  };
  struct Sink {
    mlir::Value value; // fragment
    mlir::Value map;
    int64_t rank;
    mlir::Type element;
    bool accumulates, transposed;
  };

  tile::KernelOp kernel;
  tile::ScheduleAttr schedule;
  Work work = Work::Dense;
  int64_t rows = 0, columns = 0, groups = 1;
  mlir::Value offsets; // tile.operand's result
  llvm::SmallVector<tile::MmaOp> products;
  llvm::SmallVector<Term> terms;
  tile::EpilogueOp epilogue; // may be null
  llvm::SmallVector<Sink> sinks;
  llvm::SmallVector<RowSums> rowSums;
  llvm::SmallVector<tile::FetchOp> fetches;
  mlir::Type element;
  bool gathers = false, transposes = false;

  bool hasLanes() const { return schedule.getLanes() > 0; }
  /// Whether pieces of equal depth take the place of skewed groups.
  bool cutsDepth() const { return work == Work::Ragged && schedule.getSplit() > 1; }
  int64_t tilesOfGroup() const {
    return llvm::divideCeil(rows, schedule.getM()) * llvm::divideCeil(columns, columnsOfProduct());
  }
  int64_t columnsOfProduct() const { return schedule.getN() / products.size(); }
  int64_t slicesOf(const Term &term) const { return llvm::divideCeil(term.depth, schedule.getK()); }
  int64_t slicesOfTile() const {
    int64_t slices = 0;
    for (const Term &term : terms)
      slices += slicesOf(term);
    return slices;
  }
  /// Of a tile: how often 64 columns of all fetched matrices come.
  int64_t stagesOfFetches() const { return fetches.empty() ? 0 : columnsOfProduct() / tile::kChunkColumns; }
};

class GemmEmitter {
public:
  explicit GemmEmitter(tile::KernelOp kernel);
  /// Leaves the llvm.func where the tile.kernel stands.
  void emit();

private:
  using Value = mlir::Value;
  using Values = PipelineBuilder::Values;
  struct Tile {
    Value row, column;   // of its first element, group's rows not counted for ragged work
    Value group, rowEnd; // grouped
    Value number, part;  // split: which tile, which part of its depth
    Value parts;         // cut depth: of how many
    Value first, slices; // ragged: first row and count of slices; split: the same of the part; else null
    // In runs: how many tiles; of each parities of the consumer's turn and of the right slices, and whether it has no
    // further one in the run.
    Value count, turnParity, rightParity, isLast;
  };
  using TileBody = llvm::function_ref<Values(const Tile &, mlir::ValueRange)>;

  //===--- GemmTiles.cpp ---===//
  void walk(mlir::ValueRange carried, TileBody body);
  void walkDense(mlir::ValueRange carried, TileBody body);
  void walkGrouped(mlir::ValueRange carried, TileBody body);
  void walkRagged(mlir::ValueRange carried, TileBody body);
  void walkPieces(mlir::ValueRange carried, TileBody body);
  Value isSkewed();
  std::pair<Value, Value> rasterize(Value number, int64_t tilesDown, int64_t tilesAcross);
  Value offsetOf(Value group);

  //===--- GemmProducer.cpp ---===//
  void produce();
  Values produceTerm(const Gemm::Term &term, const Tile &tile, mlir::ValueRange ring);
  void loadSide(const Gemm::Side &side, int64_t rows, Value shared, Value barrier, Value row, Value depth, Value group);
  int64_t elementsOfCopy() const;
  Values gatherPrepare(const Gemm::Side &side, const Tile &tile);
  void gatherRows(const Gemm::Side &side, mlir::ValueRange prepared, Value shared, Value depth);
  Value gatherNumbers(const Gemm::Side &side, Value depth);
  void gatherDepth(const Gemm::Side &side, const Tile &tile, Value numbers, Value shared);

  //===--- GemmConsumer.cpp ---===//
  void consume();
  Values mainloop(const Tile &tile, mlir::ValueRange ring, Values &accumulators);
  Values skip(const Tile &tile, mlir::ValueRange ring);
  Value slicesOfTile(const Tile &tile);
  void release(Value stage);
  Value writePart(const Tile &tile, mlir::ArrayRef<Value> accumulators, Value parts);
  Values addParts(const Tile &tile, Value parts);
  Value partAt(const Tile &tile, Value part);
  void joinParts(const Tile &tile, Values &accumulators, llvm::function_ref<void()> last);

  //===--- GemmLanes.cpp ---===//
  Value groupOfRow(Value row, int64_t extra = 0);
  void walkLanes(mlir::ValueRange carried, TileBody body);
  void produceLanes();
  void consumeLanes(llvm::function_ref<Values(const Tile &, mlir::ValueRange)> work);
  Tile tileOfRun(const Tile &run, Value number);
  Values pass(mlir::ValueRange ring, int64_t slices);
  void skipRight(Value parity);

  //===--- GemmEpilogue.cpp ---===//
  /// Where this thread's elements are: rows `row[h]` of the result, columns `column` + 8 j + c.
  struct Place {
    Value firstRow; // of the consumer
    Value row[2];   // a stack's rows are counted through
    Value column;   // of the tile's first chunk
    Value group;    // null: there are none
  };
  Place placeOf(const Tile &tile);
  /// What an epilogue reads through pointers: of the chunk at work, and what is on its way for the next.
  struct Operands {
    llvm::SmallVector<Values> here, next;
  };
  /// 64 columns of the tile, computed element by element.
  struct Chunk {
    int64_t number;
    llvm::DenseMap<Value, Values> values; // of each fragment
    llvm::SmallVector<Values> operands;
    llvm::SmallVector<Values> sums; // of this thread's two rows, for each tile.row_sums
  };
  Chunk beginChunk(const Place &place, mlir::ArrayRef<Value> accumulators, int64_t number, Operands &operands);
  void compute(Chunk &chunk, int64_t i);
  void store(const Tile &tile, const Place &place, mlir::ArrayRef<Value> accumulators, Operands operands);
  int64_t operandRegisters();
  llvm::SmallVector<Values> loadOperands(const Place &place, int64_t chunk, mlir::ArrayRef<Values> before = {});
  Values spread(mlir::ArrayRef<Value> fetched);
  Values evaluate(mlir::ArrayRef<Value> inputs);
  void writeStaging(mlir::ArrayRef<Value> values, mlir::Type element, int64_t quarter, Value place);
  void prepareTransposed();
  void writeTransposed(mlir::ArrayRef<Value> values, mlir::Type element, int64_t quarter, Value place);
  void sendBox(const Tile &tile, const Place &place, const Gemm::Sink &sink, int64_t column, Value from);
  void storeRowSums(const Tile &tile, const Place &place, const Chunk &chunk);

  //===--- GemmFetched.cpp ---===//
  /// The ring after the stages of fetched matrices.
  Values storeOverFetched(const Tile &tile, const Place &place, mlir::ArrayRef<Value> accumulators, Operands operands,
                          mlir::ValueRange ring);
  Values produceFetches(const Tile &tile, mlir::ValueRange ring);
  Value boxAt(int64_t number, Value stage);
  Value fetchedAt(int64_t number, Value stage);
  Values placesOverFetched(int64_t chunk, Value stage);
  Values takeFetched(Value place, int64_t quarter);

  //===--- The ring ---===//
  Value full(Value stage) { return k.add(barriers, k.shiftLeft(stage, 3)); }
  Value empty(Value stage) { return k.i32add(full(stage), 8 * gemm.schedule.getStages()); }
  std::pair<Value, Value> next(Value stage, Value parity);
  // Of the right slices of a run, and of the consumers' turns.
  Value rightFull(Value slice) {
    return k.add(k.i32add(barriers, 16 * gemm.schedule.getStages()), k.shiftLeft(slice, 3));
  }
  Value rightEmpty(Value slice) { return k.i32add(rightFull(slice), 8 * gemm.slicesOfTile()); }
  Value turnOf(Value which) {
    return k.add(k.i32add(rightFull(k.i32(0)), 16 * gemm.slicesOfTile()), k.shiftLeft(which, 3));
  }

  Gemm gemm;
  PipelineBuilder k;
  int64_t lhsBytes, rhsBytes; // of a stage
  Value lhsBase, rhsBase, stagingBase, barriers, words;
  Value skewed; // cut depth
  // Consumers only.
  Value consumer, threadOfGroup, lane, warp, isLeader, barrierId, staging;
  // Addresses within the first buffer: for stmatrix, and of pairs of f32.
  Values matrixRows, pairs;
  // The same where results are transposed: the row of stmatrix, and single f32 (of each row and column of a pair).
  Value matrixColumns;
  Values singles;
};

} // namespace moec::sm90

#endif
