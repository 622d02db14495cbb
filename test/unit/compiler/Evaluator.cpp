#include "test/unit/compiler/Evaluator.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "runtime/kernels/ReductionLoops.h"
#include "runtime/kernels/RowLoops.h"
#include "llvm/ADT/TypeSwitch.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

using namespace mlir;

namespace moec::test {

static Matrix makeMatrix(Value like) {
  auto type = cast<RankedTensorType>(like.getType());
  int64_t cols = type.getShape().back();
  return {type.getNumElements() / cols, cols, std::vector<double>(type.getNumElements())};
}

static double evaluateScalar(Operation *op, ArrayRef<double> x) {
  return llvm::TypeSwitch<Operation *, double>(op)
      .Case<arith::ConstantOp>([&](auto constant) {
        auto number = dyn_cast<FloatAttr>(constant.getValue());
        return number ? number.getValueAsDouble()
                      : static_cast<double>(cast<IntegerAttr>(constant.getValue()).getInt());
      })
      .Case<arith::AddFOp, arith::AddIOp>([&](auto) { return x[0] + x[1]; })
      .Case<arith::SubFOp, arith::SubIOp>([&](auto) { return x[0] - x[1]; })
      .Case<arith::MulFOp, arith::MulIOp>([&](auto) { return x[0] * x[1]; })
      .Case<arith::DivUIOp, arith::DivSIOp>([&](auto) { return std::trunc(x[0] / x[1]); })
      .Case<arith::RemUIOp, arith::RemSIOp>([&](auto) { return std::fmod(x[0], x[1]); })
      .Case<arith::AndIOp>([&](auto) { return x[0] != 0 && x[1] != 0 ? 1.0 : 0.0; }) // of i1
      .Case<arith::CmpIOp>([&](auto cmp) {
        return (cmp.getPredicate() == arith::CmpIPredicate::eq ? x[0] == x[1] : x[0] < x[1]) ? 1.0 : 0.0;
      })
      .Case<arith::DivFOp>([&](auto) { return x[0] / x[1]; })
      .Case<arith::NegFOp>([&](auto) { return -x[0]; })
      .Case<arith::MinimumFOp>([&](auto) { return std::min(x[0], x[1]); })
      .Case<arith::MaximumFOp>([&](auto) { return std::max(x[0], x[1]); })
      .Case<arith::CmpFOp>([&](auto) { return x[0] < x[1] ? 1.0 : 0.0; })
      .Case<arith::SelectOp>([&](auto) { return x[0] != 0 ? x[1] : x[2]; })
      .Case<arith::SIToFPOp, arith::ExtFOp, arith::TruncFOp, arith::ExtSIOp, arith::TruncIOp>(
          [&](auto) { return x[0]; })
      .Case<math::AbsFOp>([&](auto) { return std::fabs(x[0]); })
      .Case<math::ExpOp>([&](auto) { return std::exp(x[0]); })
      .Case<moe::SigmoidOp>([&](auto) { return 1 / (1 + std::exp(-x[0])); })
      .Case<math::ExpM1Op>([&](auto) { return std::expm1(x[0]); })
      .Case<math::LogOp>([&](auto) { return std::log(x[0]); })
      .Case<math::SqrtOp>([&](auto) { return std::sqrt(x[0]); })
      .Case<math::CosOp>([&](auto) { return std::cos(x[0]); })
      .Default([](Operation *other) {
        FAIL("no rule for " << other->getName().getStringRef().str());
        return 0.0;
      });
}

void Evaluator::visitMap(moe::MapOp op) {
  std::vector<Matrix> results;
  for (Value result : op.getResults())
    results.push_back(makeMatrix(result));
  int64_t rows = results[0].rows, cols = results[0].cols;
  for (int64_t place = 0; place < rows * cols; ++place) {
    llvm::DenseMap<Value, double> scalars;
    for (auto [argument, input] : llvm::zip(op.getBlock()->getArguments(), op.getInputs())) {
      const Matrix &m = get(input);
      scalars[argument] = m.at(place / cols * m.rows / rows, m.cols == 1 ? 0 : place % cols);
    }
    if (op.getPosition()) {
      auto position = op.getBlock()->getArguments().take_back(2);
      scalars[position[0]] = static_cast<double>(place / cols);
      scalars[position[1]] = static_cast<double>(place % cols);
    }
    for (Operation &inner : op.getBlock()->without_terminator()) {
      SmallVector<double> operands;
      for (Value operand : inner.getOperands())
        operands.push_back(scalars.at(operand));
      scalars[inner.getResult(0)] = evaluateScalar(&inner, operands);
    }
    for (auto [matrix, value] : llvm::zip(results, op.getYield().getValues()))
      matrix.values[place] = scalars.at(value);
  }
  for (auto [result, matrix] : llvm::zip(op.getResults(), results))
    set(result, matrix);
}

static Matrix softmax(Matrix x) {
  for (int64_t row = 0; row < x.rows; ++row) {
    auto first = x.values.begin() + row * x.cols, last = first + x.cols;
    double sum = std::accumulate(first, last, 0.0, [](double s, double v) { return s + std::exp(v); });
    std::for_each(first, last, [&](double &v) { v = std::exp(v) / sum; });
  }
  return x;
}

// Result [row, col] = f(row, col) for ops that are a formula over whole operands.
template <typename Formula> static Matrix fill(Value result, Formula formula) {
  Matrix m = makeMatrix(result);
  for (int64_t row = 0; row < m.rows; ++row)
    for (int64_t col = 0; col < m.cols; ++col)
      m.values[row * m.cols + col] = formula(row, col);
  return m;
}

static Matrix sumRows(const Matrix &x, Value result) {
  int64_t group = x.rows / makeMatrix(result).rows;
  return fill(result, [&](int64_t row, int64_t col) {
    double sum = 0;
    for (int64_t i = 0; i < group; ++i)
      sum += x.at(row * group + i, col);
    return sum;
  });
}

static Matrix countIds(const Matrix &ids, Value result) {
  int64_t group = ids.rows / makeMatrix(result).rows * ids.cols;
  return fill(result, [&](int64_t row, int64_t col) {
    auto first = ids.values.begin() + row * group;
    return static_cast<double>(std::count(first, first + group, col));
  });
}

/// a [M, K] times b [K, N]; with ta, tb they are given transposed.
static Matrix multiply(const Matrix &a, const Matrix &b, bool ta, bool tb, Value result) {
  int64_t depth = ta ? a.rows : a.cols;
  return fill(result, [&](int64_t row, int64_t col) {
    double sum = 0;
    for (int64_t k = 0; k < depth; ++k)
      sum += (ta ? a.at(k, row) : a.at(row, k)) * (tb ? b.at(col, k) : b.at(k, col));
    return sum;
  });
}

/// Rows outside groups become 0.
static Matrix multiplyGroups(moe::GroupedMatmulOp op, const Matrix &a, const Matrix &w, const Matrix &offsets,
                             const Matrix &counts) {
  int64_t k = op.getTb() ? op.getW().getType().getDimSize(2) : op.getW().getType().getDimSize(1);
  int64_t block = op.getW().getType().getDimSize(1);
  return fill(op.getResult(), [&](int64_t row, int64_t col) {
    double sum = 0;
    for (int64_t e = 0; e < counts.cols; ++e)
      if (double first = offsets.at(0, e); row >= first && row < first + counts.at(0, e))
        for (int64_t i = 0; i < k; ++i)
          sum += a.at(row, i) * (op.getTb() ? w.at(e * block + col, i) : w.at(e * block + i, col));
    return sum;
  });
}

static Matrix topK(const Matrix &x, Value result) {
  return fill(result, [&](int64_t row, int64_t col) {
    std::vector<int64_t> order(x.cols);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](int64_t a, int64_t b) { return x.at(row, a) != x.at(row, b) ? x.at(row, a) > x.at(row, b) : a < b; });
    return static_cast<double>(order[col]);
  });
}

/// The n-th largest of each column, and its row within the group: of equal entries the earlier ones first.
static std::pair<Matrix, Matrix> columnKth(const Matrix &x, moe::ColumnKthOp op, int64_t n) {
  int64_t groups = cast<RankedTensorType>(op->getResult(0).getType()).getDimSize(0), rows = x.rows / groups;
  Matrix values{groups, x.cols, {}}, places{groups, x.cols, {}};
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t col = 0; col < x.cols; ++col) {
      std::vector<std::pair<double, int64_t>> column;
      for (int64_t row = 0; row < rows; ++row)
        column.push_back({-x.at(group * rows + row, col), row});
      std::nth_element(column.begin(), column.begin() + (n - 1), column.end());
      values.values.push_back(-column[n - 1].first);
      places.values.push_back(static_cast<double>(column[n - 1].second));
    }
  return {values, places};
}

static Matrix limitCapacity(Matrix ids, const Matrix &weights, moe::LimitCapacityOp op, int64_t room) {
  std::vector<std::vector<size_t>> slots(op.getExperts());
  for (size_t i = 0; i < ids.values.size(); ++i)
    if (ids.values[i] >= 0)
      slots[static_cast<size_t>(ids.values[i])].push_back(i);
  for (std::vector<size_t> &mine : slots) {
    if (op.getPolicy() == moe::DropPolicy::lowest_weight)
      std::stable_sort(mine.begin(), mine.end(),
                       [&](size_t a, size_t b) { return weights.values[a] > weights.values[b]; });
    for (size_t i = room; i < mine.size(); ++i)
      ids.values[mine[i]] = -1;
  }
  return ids;
}

// In the log domain, rows last.
static Matrix sinkhorn(const Matrix &scores, moe::SinkhornOp op) {
  double xi = op.getXi().convertToDouble(), tol = op.getTol().convertToDouble();
  int64_t rows = scores.rows, cols = scores.cols;
  std::vector<double> u(rows), v(cols);
  auto k = [&](int64_t r, int64_t c) { return scores.at(r, c) / xi; };
  auto logSum = [](auto term, int64_t count) {
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; ++i)
      most = std::max(most, term(i));
    for (int64_t i = 0; i < count; ++i)
      sum += std::exp(term(i) - most);
    return most + std::log(sum);
  };
  Matrix plan = scores;
  for (int64_t i = 0; i < static_cast<int64_t>(op.getMaxIters()); ++i) {
    for (int64_t c = 0; c < cols; ++c)
      v[c] = std::log(double(rows) / cols) - logSum([&](int64_t r) { return k(r, c) + u[r]; }, rows);
    for (int64_t r = 0; r < rows; ++r)
      u[r] = -logSum([&](int64_t c) { return k(r, c) + v[c]; }, cols);
    double error = 0;
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r)
        sum += plan.values[r * cols + c] = std::exp(k(r, c) + u[r] + v[c]);
      error += (sum - double(rows) / cols) * (sum - double(rows) / cols);
    }
    if (std::sqrt(error) < tol)
      break;
  }
  return plan;
}

void Evaluator::visitByLoops(Operation &operation) {
  // A matrix's numbers; null for an operand that is left out.
  auto of = [&](Value value) { return value ? get(value).values.data() : nullptr; };
  Matrix result = makeMatrix(operation.getResult(0));
  double *out = result.values.data();
  llvm::TypeSwitch<Operation *>(&operation)
      .Case<moe::RmsNormOp>([&](auto op) {
        loops::rmsNorm(of(op.getInput()), of(op.getScale()), out, result.rows, result.cols,
                       op.getEps().convertToDouble());
      })
      .Case<moe::RopeOp>([&](auto op) { // of one row for each token
        const Matrix &cos = get(op.getCos());
        loops::rope(of(op.getInput()), of(op.getCos()), of(op.getSin()), out, result.rows, result.cols / (2 * cos.cols),
                    2 * cos.cols, cos.rows, op.getInverse());
      })
      .Case<moe::SpreadRowsOp>([&](auto op) {
        loops::spreadRows(of(op.getInput()), of(op.getRowSlot()), of(op.getWeights()), out, result.rows,
                          static_cast<int64_t>(op.getTopK()), result.cols);
      })
      .Case<moe::DotRowsOp>([&](auto op) {
        loops::dotRows(of(op.getInput()), of(op.getRows()), of(op.getSlotRow()), out, result.rows, result.cols,
                       get(op.getInput()).cols);
      })
      .Case<moe::EmbedOp>(
          [&](auto op) { loops::gatherRows(of(op.getTable()), of(op.getIds()), out, result.rows, result.cols); })
      .Case<moe::EmbedGradOp>([&](auto op) {
        loops::embedGrad(of(op.getGrad()), of(op.getIds()), out, get(op.getIds()).rows, result.rows, result.cols);
      })
      .Default([](Operation *other) { FAIL("no rule for " << other->getName().getStringRef().str()); });
  set(operation.getResult(0), result);
}

void Evaluator::visit(Operation &operation) {
  llvm::TypeSwitch<Operation *>(&operation)
      .Case<arith::ConstantOp>([&](auto op) {
        Matrix m = makeMatrix(op.getResult());
        auto attr = cast<DenseElementsAttr>(op.getValue());
        double value = isa<FloatType>(attr.getElementType()) ? attr.template getSplatValue<APFloat>().convertToDouble()
                                                             : attr.template getSplatValue<APInt>().getSExtValue();
        std::fill(m.values.begin(), m.values.end(), value);
        set(op.getResult(), m);
      })
      .Case<moe::MapOp>([&](auto op) { visitMap(op); })
      .Case<moe::ReadOp>([&](auto op) { set(op.getResult(), states.at(op.getState().str())); })
      .Case<moe::WriteOp>([&](auto op) { states[op.getState().str()] = get(op.getValue()); })
      .Case<moe::AccumulateOp>([&](auto op) {
        Matrix &state = states.at(op.getState().str());
        for (auto [sum, value] : llvm::zip(state.values, get(op.getValue()).values))
          sum += value;
      })
      .Case<moe::ReshapeOp>([&](auto op) {
        Matrix m = makeMatrix(op.getResult());
        m.values = get(op.getInput()).values;
        set(op.getResult(), m);
      })
      .Case<moe::RowReduceOp>([&](auto op) {
        const Matrix &x = get(op.getInput());
        set(op.getResult(), fill(op.getResult(), [&](int64_t row, int64_t part) {
              int64_t width = op.getEvery().value_or(x.cols);
              auto first = x.values.begin() + row * x.cols + part * width;
              bool isSum = op.getKind() == moe::Reduction::sum;
              return isSum ? std::accumulate(first, first + width, 0.0) : *std::max_element(first, first + width);
            }));
      })
      .Case<moe::ColReduceOp>([&](auto op) { set(op.getResult(), sumRows(get(op.getInput()), op.getResult())); })
      .Case<moe::CountIdsOp>([&](auto op) { set(op.getResult(), countIds(get(op.getIds()), op.getResult())); })
      .Case<moe::SoftmaxOp>([&](auto op) { set(op.getResult(), softmax(get(op.getInput()))); })
      .Case<moe::LogSumExpOp>([&](auto op) {
        const Matrix &x = get(op.getInput());
        set(op.getResult(), fill(op.getResult(), [&](int64_t row, int64_t) {
              double sum = 0;
              for (int64_t col = 0; col < x.cols; ++col)
                sum += std::exp(x.at(row, col));
              return std::log(sum);
            }));
      })
      .Case<moe::TakeOp>([&](auto op) {
        const Matrix &x = get(op.getInput()), &ids = get(op.getIds());
        set(op.getResult(), fill(op.getResult(), [&](int64_t row, int64_t col) {
              return ids.at(row, col) < 0 ? 0.0 : x.at(row, static_cast<int64_t>(ids.at(row, col)));
            }));
      })
      .Case<moe::RepeatOp>([&](auto op) { // of carried values alone
        SmallVector<Matrix> carried;
        for (Value init : op.getInits())
          carried.push_back(get(init));
        for (int64_t i = 0; i < static_cast<int64_t>(op.getCount()); ++i) {
          for (auto [argument, matrix] : llvm::zip(op.getCarryArguments(), carried))
            set(argument, matrix);
          for (Operation &inner : op.getBlock()->without_terminator())
            visit(inner);
          for (auto [matrix, value] : llvm::zip(carried, op.getYield().getValues()))
            matrix = get(value);
        }
        for (auto [result, matrix] : llvm::zip(op.getFinals(), carried))
          set(result, matrix);
      })
      .Case<moe::PutOp>([&](auto op) {
        const Matrix &x = get(op.getValues()), &ids = get(op.getIds());
        Matrix m = makeMatrix(op.getResult());
        for (size_t i = 0; i < ids.values.size(); ++i)
          if (ids.values[i] >= 0)
            m.values[static_cast<int64_t>(i) / ids.cols * m.cols + static_cast<int64_t>(ids.values[i])] += x.values[i];
        set(op.getResult(), m);
      })
      .Case<moe::MatmulOp>([&](auto op) {
        set(op.getResult(), multiply(get(op.getA()), get(op.getB()), op.getTa(), op.getTb(), op.getResult()));
      })
      .Case<moe::GroupedMatmulOp>([&](auto op) {
        set(op.getResult(),
            multiplyGroups(op, get(op.getA()), get(op.getW()), get(op.getOffsets()), get(op.getCounts())));
      })
      .Case<moe::ColumnKthOp>([&](auto op) {
        auto [values, places] = columnKth(get(op.getInput()), op, boundOf(op.getRank(), 1, op.getN()));
        set(op.getResult(), values);
        if (op.getRow())
          set(op.getRow(), places);
      })
      .Case<moe::LimitCapacityOp>([&](auto op) {
        int64_t room = boundOf(op.getRoom(), 0, op.getCapacity());
        set(op.getResult(), limitCapacity(get(op.getIds()), get(op.getWeights()), op, room));
      })
      .Case<moe::SinkhornOp>([&](auto op) { set(op.getPlan(), sinkhorn(get(op.getScores()), op)); })
      .Case<moe::TopKOp>([&](auto op) { set(op.getIds(), topK(get(op.getScores()), op.getIds())); })
      .Case<moe::SliceColumnsOp>([&](auto op) {
        const Matrix &x = get(op.getInput());
        set(op.getResult(),
            fill(op.getResult(), [&](int64_t row, int64_t col) { return x.at(row, col + op.getFirst()); }));
      })
      .Case<moe::GatherRowsOp>([&](auto op) {
        const Matrix &x = get(op.getInput()), &rows = get(op.getRows());
        set(op.getResult(), fill(op.getResult(), [&](int64_t row, int64_t col) {
              return rows.at(row, 0) < 0 ? 0.0 : x.at(static_cast<int64_t>(rows.at(row, 0)), col);
            }));
      })
      .Case<moe::CombineRowsOp>([&](auto op) {
        const Matrix &x = get(op.getRows()), &rows = get(op.getSlotRow());
        set(op.getResult(), fill(op.getResult(), [&](int64_t row, int64_t col) {
              double sum = 0;
              for (int64_t k = 0; k < rows.cols; ++k)
                if (rows.at(row, k) >= 0)
                  sum += x.at(static_cast<int64_t>(rows.at(row, k)), col) *
                         (op.getWeights() ? get(op.getWeights()).at(row, k) : 1.0);
              return sum;
            }));
      })
      .Default([&](Operation *other) { visitByLoops(*other); });
}

void Evaluator::run(Block &block) {
  for (Operation &op : block)
    visit(op);
}

} // namespace moec::test
