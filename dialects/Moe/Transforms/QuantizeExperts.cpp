// Gives the products of experts quantised operands.
#include "dialects/Moe/Analysis/MapForm.h"
#include "dialects/Moe/IR/FunctionNames.h"
#include "dialects/Moe/IR/MoeBuild.h"
#include "dialects/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"

#include <map>

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEQUANTIZEEXPERTS
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

/// Products that share their scales, in one block.
using ProductSet = SmallVector<GroupedMatmulOp>;

//===--- Weights --------------------------------------------------------------------------------------------------===//

/// Quantised copies of parameters.
class WeightCopies {
public:
  explicit WeightCopies(ModuleOp module) : module(module) {
    for (StateOp state : module.getOps<StateOp>())
      if (state.getKind() == StateKind::parameter)
        parameters[state.getSymName()] = state;
  }

  /// Copies of some parameters, with one scale for all.
  struct Copies {
    SmallVector<StateOp> parameters, values;
    StateOp scale;
    bool transposed;
  };

  bool isParameter(Value value) const {
    auto read = value.getDefiningOp<ReadOp>();
    return read && parameters.contains(read.getState());
  }

  /// The copies for products that read these parameters; `transposed` when they do so without `tb`.
  Copies &get(ArrayRef<StringRef> names, bool transposed) {
    std::vector<std::string> key(names.begin(), names.end());
    key.push_back(transposed ? "columns" : "rows");
    auto [entry, isNew] = made.try_emplace(key);
    Copies &copies = entry->second;
    if (!isNew)
      return copies;
    copies.transposed = transposed;
    order.push_back(&copies);
    for (StringRef name : names) {
      StateOp parameter = parameters.lookup(name);
      SmallVector<int64_t> shape(parameter.getTensorType().getShape());
      if (transposed)
        std::swap(shape[1], shape[2]);
      copies.parameters.push_back(parameter);
      copies.values.push_back(declare(parameter, key.back(), shape, "moe.quantized"));
    }
    ArrayRef<int64_t> shape = copies.values.front().getTensorType().getShape();
    copies.scale = declare(copies.parameters.front(), key.back() + ".scale", shape.drop_back(), "moe.full_precision");
    return copies;
  }

  /// Makes the copies wherever a parameter was written, and in `refresh`.
  void fill() {
    if (order.empty())
      return;
    SmallVector<func::FuncOp> functions(module.getOps<func::FuncOp>());
    for (func::FuncOp function : functions) {
      llvm::StringMap<bool> written;
      function.walk([&](WriteOp write) { written[write.getState()] = true; });
      OpBuilder b(function.getBody().back().getTerminator());
      for (Copies *copies : order)
        if (llvm::any_of(copies->parameters, [&](StateOp state) { return written.lookup(state.getSymName()); }))
          quantize(b, *copies);
    }
    OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
    auto refresh = func::FuncOp::create(b, module.getLoc(), kRefreshFunction, b.getFunctionType({}, {}));
    b.setInsertionPointToStart(refresh.addEntryBlock());
    for (Copies *copies : order)
      quantize(b, *copies);
    func::ReturnOp::create(b, module.getLoc());
  }

private:
  StateOp declare(StateOp parameter, StringRef suffix, ArrayRef<int64_t> shape, StringRef mark) {
    // A parameter may be in several sets.
    auto inSet = [&](StringRef name) { return ("copy." + name + "." + suffix).str(); };
    std::string symbol = inSet(parameter.getSymName()), number;
    if (int copies = ++taken[symbol]; copies > 1)
      number = "." + std::to_string(copies);
    OpBuilder b(parameter);
    b.setInsertionPointAfter(parameter);
    auto type = RankedTensorType::get(shape, parameter.getTensorType().getElementType());
    auto state = StateOp::create(b, parameter.getLoc(), b.getStringAttr(symbol + number),
                                 StateKindAttr::get(b.getContext(), StateKind::copy), TypeAttr::get(type),
                                 parameter.getCountAttr(), parameter.getLayersAttr(), /*gradient=*/FlatSymbolRefAttr());
    if (parameter.getLogicalName())
      state.setLogicalName(inSet(parameter.getName()) + number);
    state->setAttr(mark, b.getUnitAttr());
    return state;
  }

  // All layers at once: the matrices of a stack of stacks are one stack.
  void quantize(OpBuilder &b, Copies &copies) {
    Location loc = copies.scale.getLoc();
    SmallVector<Value> inputs;
    int64_t width = 0;
    for (StateOp parameter : copies.parameters) {
      ArrayRef<int64_t> shape = parameter.getTensorType().getShape();
      int64_t matrices = parameter.getCopies() * shape[0];
      width = shape[2];
      Value whole = ReadOp::create(b, loc, wholeType(parameter), FlatSymbolRefAttr::get(parameter.getSymNameAttr()),
                                   /*index=*/Value());
      SmallVector<int64_t> flat{matrices, shape[1], width};
      if (!copies.transposed)
        flat = {matrices * shape[1], width};
      inputs.push_back(ReshapeOp::create(b, loc, withShape(whole, flat), whole));
    }
    if (copies.transposed) {
      ArrayRef<int64_t> shape = cast<RankedTensorType>(inputs.front().getType()).getShape();
      auto op = QuantizeColumnsOp::create(b, loc, withShape(inputs.front(), {shape[0], shape[2], shape[1]}),
                                          withShape(inputs.front(), {shape[0], shape[2]}), inputs.front());
      write(b, copies.values.front(), op.getValues());
      write(b, copies.scale, op.getScale());
      return;
    }
    SmallVector<Type> types(ValueRange(inputs).getTypes());
    types.push_back(withShape(inputs.front(), {rows(inputs.front()), 1}));
    auto op = QuantizeRowsOp::create(b, loc, types, inputs);
    for (auto [state, value] : llvm::zip_equal(copies.values, op.getValues()))
      write(b, state, value);
    write(b, copies.scale, op.getScale());
  }

  static RankedTensorType wholeType(StateOp state) {
    RankedTensorType type = state.getTensorType();
    if (!state.getCount())
      return type;
    SmallVector<int64_t> shape{state.getCopies()};
    llvm::append_range(shape, type.getShape());
    return RankedTensorType::get(shape, type.getElementType());
  }

  static void write(OpBuilder &b, StateOp state, Value value) {
    RankedTensorType type = wholeType(state);
    if (value.getType() != type)
      value = ReshapeOp::create(b, state.getLoc(), type, value);
    WriteOp::create(b, state.getLoc(), FlatSymbolRefAttr::get(state.getSymNameAttr()), /*index=*/Value(), value);
  }

  ModuleOp module;
  llvm::StringMap<StateOp> parameters;
  std::map<std::vector<std::string>, Copies> made;
  SmallVector<Copies *> order;
  llvm::StringMap<int> taken;
};

//===--- Products -------------------------------------------------------------------------------------------------===//

class ProductQuantizer {
public:
  explicit ProductQuantizer(WeightCopies &weights) : weights(weights) {}

  void run(func::FuncOp function) {
    llvm::SetVector<GroupedMatmulOp> products;
    // Those of losses stay: they compare what may differ by less than a rounding to eight bits.
    function.walk([&](GroupedMatmulOp op) {
      if (op.getScales().empty() && weights.isParameter(op.getW()) && !op->hasAttr("moe.full_precision"))
        products.insert(op);
    });
    while (!products.empty()) {
      ProductSet set = setOf(products.front(), products);
      for (GroupedMatmulOp product : set)
        products.remove(product);
      quantize(set);
    }
    // Not before: what is remembered as quantised may be a product's result.
    for (GroupedMatmulOp product : replaced)
      product->erase();
  }

private:
  /// `product` and those that are added to it and to nothing else. Columns are quantised one parameter at a time, so
  /// only products with `tb` find partners: those of a backward.
  static ProductSet setOf(GroupedMatmulOp product, const llvm::SetVector<GroupedMatmulOp> &products) {
    ProductSet set{product};
    auto sum = product->hasOneUse() ? dyn_cast<MapOp>(*product->user_begin()) : MapOp();
    if (!product.getTb() || !sum || !isSum(sum))
      return set;
    for (Value input : sum.getInputs()) {
      auto other = input.getDefiningOp<GroupedMatmulOp>();
      if (other && other != product && products.contains(other) && other->hasOneUse() && other.getTb() &&
          other->getBlock() == product->getBlock() && other.getOffsets() == product.getOffsets() &&
          other.getCounts() == product.getCounts() && other.getW().getType() == product.getW().getType() &&
          indexOf(other) == indexOf(product))
        set.push_back(other);
    }
    // They run as late as their sum, so that all their operands exist where the first one is quantised.
    if (set.size() > 1)
      for (GroupedMatmulOp member : set)
        member->moveBefore(sum);
    return set;
  }

  static ReadOp readOf(GroupedMatmulOp product) { return product.getW().getDefiningOp<ReadOp>(); }
  static Value indexOf(GroupedMatmulOp product) { return readOf(product).getIndex(); }

  void quantize(MutableArrayRef<GroupedMatmulOp> set) {
    OpBuilder b(set.front());
    SmallVector<Value> activations;
    SmallVector<StringRef> names;
    for (GroupedMatmulOp product : set) {
      activations.push_back(product.getA());
      names.push_back(readOf(product).getState());
    }
    Quantized left = quantizeActivations(b, activations, set.front()->getBlock());
    GroupedMatmulOp first = set.front();
    WeightCopies::Copies &copies = weights.get(names, /*transposed=*/!first.getTb());
    auto read = [&](StateOp state) -> Value {
      return ReadOp::create(b, first.getLoc(), state.getTensorType(), FlatSymbolRefAttr::get(state.getSymNameAttr()),
                            indexOf(first));
    };
    Value columnScale = read(copies.scale);
    for (auto [product, value, state] : llvm::zip_equal(set, left.values, copies.values)) {
      OpBuilder here(product);
      Value columns = read(state);
      Value result = GroupedMatmulOp::create(here, product.getLoc(), product.getType(), value, columns,
                                             product.getOffsets(), product.getCounts(), /*tb=*/true,
                                             ValueRange{left.scale, columnScale}, product.getAllRows());
      product.replaceAllUsesWith(result);
    }
    llvm::append_range(replaced, set);
  }

  struct Quantized {
    SmallVector<Value> values;
    Value scale;
  };

  /// Rows are quantised once, where they are made; who gathers rows gathers quantised ones.
  Quantized quantizeActivations(OpBuilder &b, ArrayRef<Value> activations, Block *block) {
    auto gather = activations.front().getDefiningOp<GatherRowsOp>();
    if (gather && activations.size() == 1 && gather->getBlock() == block) {
      auto [entry, isNew] = gathered.try_emplace(gather);
      Quantized &result = entry->second;
      if (isNew) {
        Quantized tokens = quantizeRows(b, Value(gather.getInput()), block);
        OpBuilder after(gather);
        after.setInsertionPointAfter(gather);
        auto take = [&](Value from, int64_t columns) -> Value {
          return GatherRowsOp::create(after, gather.getLoc(), withShape(from, {rows(gather), columns}), from,
                                      gather.getRows(), /*slot_row=*/Value());
        };
        result = {{take(tokens.values.front(), cols(gather))}, take(tokens.scale, 1)};
      }
      return result;
    }
    return quantizeRows(b, activations, block);
  }

  Quantized quantizeRows(OpBuilder &b, ArrayRef<Value> inputs, Block *block) {
    Value first = inputs.front();
    bool standsAlone = inputs.size() == 1 && first.getParentBlock() == block;
    if (auto found = quantized.find(first); standsAlone && found != quantized.end())
      return found->second;
    OpBuilder::InsertionGuard guard(b);
    if (standsAlone)
      b.setInsertionPointAfterValue(first);
    SmallVector<Type> types(ValueRange(inputs).getTypes());
    types.push_back(withShape(first, {rows(first), 1}));
    auto op = QuantizeRowsOp::create(b, first.getLoc(), types, inputs);
    Quantized result{SmallVector<Value>(op.getValues()), op.getScale()};
    if (standsAlone)
      quantized[first] = result;
    return result;
  }

  WeightCopies &weights;
  SmallVector<GroupedMatmulOp> replaced;
  llvm::DenseMap<Operation *, Quantized> gathered;
  llvm::DenseMap<Value, Quantized> quantized;
};

struct QuantizeExpertsPass : impl::MoeQuantizeExpertsBase<QuantizeExpertsPass> {
  void runOnOperation() override {
    WeightCopies weights(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>())
      ProductQuantizer(weights).run(function);
    weights.fill();
  }
};

} // namespace
} // namespace moec::moe
