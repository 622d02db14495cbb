// Shape checks. Their messages have one form: the value, its shape, the expected shape.
#ifndef MOEC_DIALECTS_MOE_IR_MOEVERIFY_H
#define MOEC_DIALECTS_MOE_IR_MOEVERIFY_H

#include "dialects/Moe/IR/Moe.h"

namespace moec::moe {

inline int64_t rows(mlir::Value value) { return llvm::cast<mlir::RankedTensorType>(value.getType()).getDimSize(0); }
inline int64_t cols(mlir::Value value) { return llvm::cast<mlir::RankedTensorType>(value.getType()).getDimSize(1); }
inline mlir::Type elementType(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType()).getElementType();
}

/// `value` must have this shape.
mlir::LogicalResult expectShape(mlir::Operation *op, llvm::StringRef what, mlir::Value value,
                                llvm::ArrayRef<int64_t> expected);
/// `value` must have the element type of `other`.
mlir::LogicalResult expectSameElement(mlir::Operation *op, llvm::StringRef what, mlir::Value value,
                                      llvm::StringRef otherName, mlir::Value other);
/// `divisor` must divide `number`.
mlir::LogicalResult expectDivides(mlir::Operation *op, llvm::StringRef divisorName, int64_t divisor,
                                  llvm::StringRef numberName, int64_t number);

} // namespace moec::moe

#endif
