// Which parameters muon takes, and that all layers and experts go through the same products.
// RUN: sed 's/#exp.method<"optimizer".*weight_decay = 0.0 : f64}>/#exp.method<"optimizer", "muon", {momentum = 0.95 : f64, nesterov = true, "ns.steps" = 2 : i64, "ns.coefficients" = "keller", scale = "keller", weight_decay = 0.1 : f64, "lite.beta1" = 0.0 : f64, "lite.beta2" = 0.0 : f64, "lite.chi" = 1.0 : f64, "lite.chi_schedule" = "constant", "lite.ramp" = 50 : i64, "lite.sharp_fraction" = 0.1 : f64}>/' %S/Inputs/base.mlir > %t.mlir

// RUN: sed 's/"\*norm.scale", "embed"/"*.experts.down"/' %t.mlir | moec-opt -moec-build-model | FileCheck %s
// CHECK: moe.state @"optimizer.m.layers.{}.moe.experts.down" optimizer : tensor<8x48x32xf32> count
// CHECK-LABEL: func.func @update
// CHECK: moe.write @"optimizer.m.layers.{}.moe.experts.down"
// Four layers of eight experts, 48 x 32 each: the smaller Gram matrices, 32 x 32.
// CHECK: moe.grouped_outer %[[X:.*]], %[[X]], {{.*}} : tensor<1536x32xf32>, tensor<1536x32xf32>, tensor<1x33xi32>, tensor<1x32xi32> -> tensor<32x32x32xf32>
// CHECK: moe.grouped_matmul all_rows {{.*}} : tensor<1024x32xf32>, tensor<32x32x32xf32>, tensor<1x33xi32>, tensor<1x32xi32> -> tensor<1024x32xf32>
// CHECK: moe.grouped_matmul all_rows %[[X]], {{.*}} : tensor<1536x32xf32>, tensor<32x32x32xf32>, {{.*}} -> tensor<1536x32xf32>
// CHECK: moe.write @"layers.{}.moe.experts.down"

// 48 rows are no multiple of 20: each matrix gets 60, and gives 12 back.
// RUN: sed 's/"\*norm.scale", "embed"/"*.experts.down"/' %t.mlir | moec-opt -moec-build-model=row-align=20 | FileCheck %s --check-prefix=PADDED
// PADDED-LABEL: func.func @update
// PADDED: moe.gather_rows {{.*}} : tensor<1536x32xf32>, tensor<1920x1xi32> -> tensor<1920x32xf32>
// PADDED: moe.grouped_outer {{.*}} : tensor<1920x32xf32>, tensor<1920x32xf32>
// PADDED: moe.gather_rows {{.*}} : tensor<1920x32xf32>, tensor<1536x1xi32> -> tensor<1536x32xf32>

// RUN: not moec-opt -moec-build-model %t.mlir 2>&1 | FileCheck %s --check-prefix=VECTOR
// VECTOR: error: MOEC-S055: muon cannot update "embed": it is the embedding; give it to a group of kind "adamw" that stands before this one, or match matrices of layers only, such as "layers.*.attention.{q,k,v,o}"
// RUN: sed 's/"\*norm.scale", "embed"/"*norm.scale"/' %t.mlir | not moec-opt -moec-build-model 2>&1 | FileCheck %s --check-prefix=SCALE
// SCALE: error: MOEC-S055: muon cannot update "layers.{}.attention.norm.scale": it is no matrix;
// RUN: sed 's/"\*norm.scale", "embed"/"head"/' %t.mlir | not moec-opt -moec-build-model 2>&1 | FileCheck %s --check-prefix=HEAD
// HEAD: error: MOEC-S055: muon cannot update "head": it is the head;
