#include "compiler/Methods/ActivationSupport.h"

using namespace mlir;

namespace moec {

static Value sliceColumns(TensorBuilder &b, Value ids, int64_t first, int64_t count) {
  auto type = RankedTensorType::get({TensorBuilder::rows(ids), count}, b.b.getI32Type());
  return moe::SliceColumnsOp::create(b.b, type, ids, first);
}

/// row_slot of a part of the tokens or slots. For a token and a slot, `place` says whether they are in the part, and
/// gives their number there.
static Value mapRowSlot(TensorBuilder &b, Value rowSlot, int64_t slots,
                        function_ref<std::pair<Value, Value>(ScalarBuilder &, Value token, Value slot)> place) {
  Type i32 = b.b.getI32Type();
  return b.mapTo(i32, {rowSlot}, TensorBuilder::rows(rowSlot), 1, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value none = s.integer(-1), number = s.toInteger(x[0], 64), isRow = s.less(none, number);
    Value known = s.select(isRow, number, s.integer(0));
    auto [isIn, mine] = place(s, s.quotient(known, s.integer(slots)), s.rem(known, s.integer(slots)));
    return s.toInteger(s.select(s.both(isRow, isIn), mine, none), 32);
  });
}

TokenActivations buildTokenActivations(TensorBuilder &b, const LayerValues &r, int64_t every) {
  TokenActivations a;
  int64_t slots = TensorBuilder::cols(r.slotRow), tokens = r.numTokens / every;
  Value squares = b.sumCols(b.mul(r.activations, r.activations));
  a.units = b.map({r.activations, squares}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    return s.div(x[0], s.sqrt(s.add(x[1], s.constant(1e-16))));
  });
  a.slotRow = r.slotRow, a.rowSlot = r.rowSlot;
  if (every > 1) {
    auto wide = RankedTensorType::get({tokens, every * slots}, b.b.getI32Type());
    a.slotRow = sliceColumns(b, moe::ReshapeOp::create(b.b, wide, r.slotRow), 0, slots);
    a.rowSlot = mapRowSlot(b, r.rowSlot, slots, [&](ScalarBuilder &s, Value token, Value slot) {
      Value size = s.integer(every);
      Value mine = s.add(s.mul(s.quotient(token, size), s.integer(slots)), slot);
      return std::pair(s.equal(s.rem(token, size), s.integer(0)), mine);
    });
  }
  Value used = b.mapTo(b.element, {a.slotRow}, tokens, slots, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    return s.select(s.less(s.toInteger(x[0], 64), s.integer(0)), s.constant(0.0), s.constant(1.0));
  });
  a.pairs = b.map({b.sumCols(used)},
                  [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.mul(x[0], s.sub(x[0], s.constant(1.0))); });
  return a;
}

// sums: over ordered pairs, [N, 1].
static Value buildMean(TensorBuilder &b, Value sums, Value pairs) {
  Value means = b.map({sums, pairs}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value one = s.constant(1.0);
    return s.select(s.less(x[1], one), s.constant(0.0), s.div(x[0], s.max(x[1], one)));
  });
  return b.scale(b.sumAll(means), 1.0 / TensorBuilder::rows(pairs));
}

// The square of a sum of vectors is the sum of the squares of the vectors and of the products of all ordered pairs. The
// squares are 1, except those of vectors of (nearly) zeros; so they are summed, not counted.
Value buildMeanCosine(TensorBuilder &b, const TokenActivations &a) {
  int64_t tokens = TensorBuilder::rows(a.slotRow);
  auto combine = [&](Value rows) -> Value {
    return moe::CombineRowsOp::create(b.b, b.type(tokens, TensorBuilder::cols(rows)), rows, a.slotRow, a.rowSlot,
                                      /*weights=*/Value());
  };
  Value sum = combine(a.units), own = combine(b.sumCols(b.mul(a.units, a.units)));
  return buildMean(b, b.sub(b.sumCols(b.mul(sum, sum)), own), a.pairs);
}

Value buildMeanOfCosines(TensorBuilder &b, const TokenActivations &a,
                         function_ref<Value(ScalarBuilder &, Value)> function) {
  int64_t tokens = TensorBuilder::rows(a.slotRow), slots = TensorBuilder::cols(a.slotRow);
  SmallVector<Value> units;
  for (int64_t slot = 0; slot < slots; ++slot) {
    Value rowSlot = mapRowSlot(b, a.rowSlot, slots, [&](ScalarBuilder &s, Value token, Value other) {
      return std::pair(s.equal(other, s.integer(slot)), token);
    });
    units.push_back(moe::CombineRowsOp::create(b.b, b.type(tokens, TensorBuilder::cols(a.units)), a.units,
                                               sliceColumns(b, a.slotRow, slot, 1), rowSlot, /*weights=*/Value()));
  }
  Value sums;
  for (size_t i = 0; i < units.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      Value cosine = b.sumCols(b.mul(units[i], units[j]));
      Value term = b.map({cosine}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
        return s.mul(s.constant(2.0), function(s, x[0]));
      });
      sums = sums ? b.add(sums, term) : term;
    }
  return sums ? buildMean(b, sums, a.pairs) : b.constant(0.0);
}

std::vector<exp::Conflict> findSingleExperts(exp::ExperimentOp experiment, const std::string &kind,
                                             const std::string &what) {
  auto moe = experiment.section<exp::MoeOp>();
  if (!moe)
    return {};
  exp::TopKPlace least = exp::findSmallestTopK(experiment);
  if (least.topK != 1)
    return {};
  bool always = moe.getTopK() == 1;
  return {{.field = "",
           .text = kind + " compares the experts of one token" +
                   (always ? ", and each token has one: the " + what +
                                 " is always 0; give model.moe.top_k 2 or more, or leave the " + what + " out"
                           : ": where a layer has top_k 1 it is 0"),
           .other = least.section,
           .otherField = least.field,
           .otherText = least.text(),
           .isWarning = true}};
}

} // namespace moec
