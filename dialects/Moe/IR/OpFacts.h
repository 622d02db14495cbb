// Facts that passes and targets need to know about an op. Each op declares them where it is defined (Moe_Facts). Passes
// ask through FactsOpInterface and contain only policy.
#ifndef MOEC_DIALECTS_MOE_IR_OPFACTS_H
#define MOEC_DIALECTS_MOE_IR_OPFACTS_H

#include "mlir/IR/OpDefinition.h"

namespace moec::moe {

/// Which kernel template computes an op.
enum class Kernel {
  expanded, // none: moe-decompose turns the op into others
  view,     // none: the same elements under another type
  access,   // none: reads or writes a state, at the border of a kernel
  row,      // the template of rows (kind "row"), together with other ops on as many rows
  product,  // the template of matrix products (kind "matmul")
  own,      // a template of its own; the kind is the op's mnemonic
  apart     // none: the op stays between dispatches, and the plan has an instruction for it (what ranks exchange)
};

/// How the rows of an operand (the outermost dimension) relate to those of the results.
enum class Rows {
  aligned,  // row i is read for row i; row i * r / rows of an operand with r rows
  permuted, // rows are picked by row numbers that another operand holds
  reduced,  // rows are added up, counted or chosen from, so a result has fewer or other rows
  whole     // any row may be read for any other
};

/// Which ops that write states may follow inside the op's kernel.
enum class Sinks { none, write, accumulate, any };

/// How a floating-point result lies in memory where storage is narrow (moe-narrow-storage).
enum class Storage {
  wide,            // as it was computed: sums, choices, statistics of rows, values of iterations
  narrow,          // narrow
  float8,          // as f8E4M3FN: the op rounded it to that
  likeInput,       // as operand 0
  narrowWithInput, // narrow where operand 0 is narrow
  elementwise      // narrow where an operand of the result's shape is
};

/// Facts that hold for every op of a name. If a fact depends on the operand, result or attributes, ask
/// FactsOpInterface.
struct OpFacts {
  Kernel kernel;
  Rows rows;       // of every operand
  Storage storage; // of every result
  Sinks sinks = Sinks::none;
  bool takesConstants = false; // the kernel may hold a constant operand; otherwise operands must be in memory
  bool takesEpilogue = false;  // the kernel computes maps of its result's shape too
  bool takesTerms = false;     // the kernel computes the map that makes its operand, if nobody else reads the map
  bool joinsReaders = false;   // row template: joins a kernel that reads the same rows, if there is one
  bool isBusy = false;         // row template: computes for longer than it loads and stores
  bool isCheap = false;        // one pass over memory: computing it again costs as much as loading what was kept
  bool isDecision = false;     // decides which rows meet which expert
  int inPlace = -1;            // operand whose elements are each read before the same element of a result is written
};

/// Carries `facts` into the class of an op; see Moe_Facts in MoeInterfaces.td.
template <typename ConcreteOp> class HasFacts : public mlir::OpTrait::TraitBase<ConcreteOp, HasFacts> {};

/// Rows of a matrix picked by row numbers: row r is row numbers[r] of `input`, or zeros where that is negative.
struct PickedRows {
  mlir::Value input, numbers;
  bool bySlot = false; // the numbers count slots: numbers[r] / slots is the row
  int64_t slots = 1;
};

} // namespace moec::moe

#endif
