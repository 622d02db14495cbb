// RUN: sed 's/"embed"\]/"layers.{0..1}.attention.q"]/' %S/Inputs/base.mlir | not moec-opt -moec-build-model 2>&1 | FileCheck %s --check-prefix=SPLIT
// SPLIT: error: MOEC-S054: parameters "layers.0.attention.q" and "layers.2.attention.q" are updated together, but the first is in group "no_decay" and the second in no group
// SPLIT-SAME: such as "layers.*.attention.q"

// RUN: sed 's/"embed"\]/"embd"]/' %S/Inputs/base.mlir | not moec-opt -moec-build-model 2>&1 | FileCheck %s --check-prefix=TYPO
// TYPO: error: MOEC-S053: pattern "embd" of group "no_decay" matches no parameter; did you mean "embed"?
