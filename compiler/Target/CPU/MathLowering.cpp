#include "compiler/Target/CPU/MathLowering.h"

#include "compiler/Target/Kernel/Float8.h"
#include "dialects/Moe/IR/Moe.h"
#include "mlir/Conversion/MathToLibm/MathToLibm.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Transforms/DialectConversion.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;

namespace moec::cpu {

namespace {

/// Uses exp only of numbers <= 0, so it cannot overflow, and 1 + exp loses no accuracy on either side of 0.
struct ExpandSigmoid : OpRewritePattern<moe::SigmoidOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(moe::SigmoidOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value x = op.getX();
    auto number = [&](double value) -> Value {
      return arith::ConstantOp::create(
          b, cast<TypedAttr>(b.getFloatAttr(cast<FloatType>(getElementTypeOrSelf(x.getType())), value)));
    };
    auto splat = [&](Value value) -> Value {
      return isa<VectorType>(x.getType()) ? vector::BroadcastOp::create(b, x.getType(), value).getResult() : value;
    };
    Value zero = splat(number(0)), one = splat(number(1));
    Value e = math::ExpOp::create(b, arith::NegFOp::create(b, math::AbsFOp::create(b, x)));
    Value isNegative = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, x, zero);
    Value numerator = arith::SelectOp::create(b, isNegative, e, one);
    rewriter.replaceOpWithNewOp<arith::DivFOp>(op, numerator, arith::AddFOp::create(b, one, e));
    return success();
  }
};

struct LowerKernelMath : PassWrapper<LowerKernelMath, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerKernelMath)

  StringRef getArgument() const override { return "moec-cpu-lower-math"; }
  StringRef getDescription() const override { return "Polynomials for f32 math, libm calls for the rest"; }

  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, math::MathDialect, vector::VectorDialect, func::FuncDialect, LLVM::LLVMDialect,
                    ub::UBDialect>();
  }

  void runOnOperation() override {
    // These match f32 only, scalars and vectors alike. sin and cos are left to libm: they fill tables once, with large
    // arguments.
    RewritePatternSet polynomials(&getContext());
    polynomials.add<ExpandSigmoid>(&getContext());
    populateMathPolynomialApproximationPatterns(polynomials, [](StringRef name) {
      static const StringRef names[] = {math::ExpOp::getOperationName(),   math::LogOp::getOperationName(),
                                        math::Log2Op::getOperationName(),  math::ExpM1Op::getOperationName(),
                                        math::Log1pOp::getOperationName(), math::TanhOp::getOperationName(),
                                        math::ErfOp::getOperationName()};
      return llvm::is_contained(names, name);
    });
    kernel::populateFloat8Rounding(polynomials);
    if (failed(applyPatternsGreedily(getOperation(), std::move(polynomials))))
      return signalPassFailure();

    // Ops that have no LLVM intrinsic, or (log1p) one that loses the accuracy for small arguments.
    RewritePatternSet calls(&getContext());
    populateMathToLibmConversionPatterns(calls);
    ConversionTarget target(getContext());
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    target.addIllegalOp<math::Log1pOp, math::ExpM1Op, math::ErfOp, math::ErfcOp, math::TanhOp, math::TanOp,
                        math::SinhOp, math::CoshOp, math::AsinOp, math::AcosOp, math::AtanOp, math::Atan2Op,
                        math::AsinhOp, math::AcoshOp, math::AtanhOp, math::CbrtOp>();
    if (failed(applyPartialConversion(getOperation(), target, std::move(calls))))
      signalPassFailure();
  }
};

} // namespace

std::unique_ptr<Pass> createLowerKernelMath() { return std::make_unique<LowerKernelMath>(); }

} // namespace moec::cpu
